-- purpose: what the archiver did last
SELECT last_archived_wal, last_archived_time, last_failed_wal, last_failed_time, archived_count, failed_count
FROM pg_catalog.pg_stat_archiver
