"""Looking at a server by check files: what a row means, what was not seen, what to do first. Health and access share it."""
