-- purpose: the archive command in force
SELECT pg_catalog.current_setting('archive_command') AS command
