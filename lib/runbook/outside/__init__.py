"""What is outside: commands, HTTP, and the operator's hooks made of either."""
