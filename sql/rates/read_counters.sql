-- purpose: counters of the whole server, to be read twice
-- columns: at timestamptz; transactions, blocks_hit, blocks_read, rows_changed, temporary_bytes, deadlocks numeric; wal_bytes numeric (NULL in recovery)
-- privilege: none
-- source: PostgreSQL 17, pg_stat_database, pg_current_wal_lsn
SELECT pg_catalog.clock_timestamp() AS at,
       sum(xact_commit + xact_rollback)::float8 AS transactions,
       sum(blks_hit)::float8 AS blocks_hit,
       sum(blks_read)::float8 AS blocks_read,
       sum(tup_inserted + tup_updated + tup_deleted)::float8 AS rows_changed,
       sum(temp_bytes)::float8 AS temporary_bytes,
       sum(deadlocks)::float8 AS deadlocks,
       CASE WHEN NOT pg_catalog.pg_is_in_recovery()
            THEN pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), '0/0')::float8 END AS wal_bytes
FROM pg_catalog.pg_stat_database;
