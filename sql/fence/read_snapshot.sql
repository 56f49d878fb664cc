-- purpose: the snapshot of this transaction, and where production's WAL stood
-- columns: snapshot text; database text; system_identifier text; timeline int; server_version text
-- privilege: EXECUTE on pg_control_system and pg_control_checkpoint (pg_monitor has it)
-- source: PostgreSQL 17, "Transaction ID and Snapshot Information Functions"
SELECT pg_catalog.pg_current_snapshot()::text AS snapshot,
       pg_catalog.current_database()::text AS database,
       (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS system_identifier,
       (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()) AS timeline,
       pg_catalog.current_setting('server_version') AS server_version;
