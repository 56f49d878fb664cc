"""A cluster whose files are within reach: backups, WAL archive, scratch restores."""
