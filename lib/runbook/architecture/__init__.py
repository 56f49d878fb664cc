"""What the system is: what the server shows, what only people can say, and what has changed since somebody looked."""
