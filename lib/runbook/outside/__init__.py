"""What is outside: commands here, HTTP later."""
