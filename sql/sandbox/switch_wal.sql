-- purpose: close the current WAL segment so that it is archived
-- columns: segment that was closed, by file name
-- source: PostgreSQL 17, pg_switch_wal: it returns the end of the closed segment's content plus 1
SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_switch_wal() - 1) AS segment
