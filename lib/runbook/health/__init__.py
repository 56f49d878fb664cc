"""The daily look at a living server: what is wrong, what was not seen, what to do first."""
