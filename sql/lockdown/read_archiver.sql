-- purpose: how often archiving failed, and at which segment last
-- columns: failed int; last_failed text; last_archived text
-- privilege: CONNECT
-- source: PostgreSQL 17, pg_stat_archiver
SELECT a.failed_count::int AS failed, a.last_failed_wal AS last_failed, a.last_archived_wal AS last_archived
FROM pg_catalog.pg_stat_archiver AS a;
