-- purpose: where the WAL is now, and the time
-- columns: lsn; at
SELECT pg_catalog.pg_current_wal_insert_lsn()::text AS lsn, pg_catalog.clock_timestamp() AS at
