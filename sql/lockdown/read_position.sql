-- purpose: where WAL stands on a server that writes: what was inserted, what is on disk, and the timeline
-- columns: insert_lsn text; flush_lsn text; timeline text (eight hexadecimal digits)
-- privilege: CONNECT
-- source: PostgreSQL 17, "Backup Control Functions"
SELECT pg_catalog.pg_current_wal_insert_lsn()::text AS insert_lsn,
       pg_catalog.pg_current_wal_flush_lsn()::text AS flush_lsn,
       pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8) AS timeline;
