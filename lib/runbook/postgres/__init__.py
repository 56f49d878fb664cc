"""PostgreSQL itself: its programs, its connections, its SQL files, its write-ahead log."""
