-- purpose: how many base backups are being taken from this server now
-- columns: running int
-- privilege: CONNECT
-- source: PostgreSQL 17, pg_stat_progress_basebackup
SELECT count(*)::int AS running FROM pg_catalog.pg_stat_progress_basebackup;
