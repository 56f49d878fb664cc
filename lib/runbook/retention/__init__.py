"""What is really kept of backups and WAL: measured once, for the compliance review and for the architecture."""
