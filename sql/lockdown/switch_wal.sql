-- purpose: the WAL segment in use is finished, so that it can be archived; nothing happens when nothing was written since
-- columns: end text (LSN: one behind the last byte in the finished segment, or the start of one that is still empty)
-- privilege: EXECUTE on pg_switch_wal (superuser)
-- source: PostgreSQL 17, "Backup Control Functions"
SELECT pg_catalog.pg_switch_wal()::text AS "end";
