-- purpose: the snapshot of this transaction, and where production's WAL stood
-- columns: snapshot text; database text; system_identifier text; timeline bigint, of the WAL file that is written: pg_control lags after a
--   promotion; server_version text
-- privilege: EXECUTE on pg_control_system (pg_monitor has it)
-- source: PostgreSQL 17, "Transaction ID and Snapshot Information Functions", "Backup Control Functions"
SELECT pg_catalog.pg_current_snapshot()::text AS snapshot,
       pg_catalog.current_database()::text AS database,
       (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS system_identifier,
       ('x' || pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8))::bit(32)::bigint AS timeline,
       pg_catalog.current_setting('server_version') AS server_version;
