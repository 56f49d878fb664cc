-- purpose: no replication slot keeps much WAL
-- scope: cluster
-- unit: MiB
-- rank: 2
-- threshold: slot_warning_mebibytes = 1024 | judgement: far more than a standby lags in normal work
-- threshold: slot_critical_mebibytes = 10240 | judgement: pg_wal fills its disk soon
-- warning: slot_warning_mebibytes
-- critical: slot_critical_mebibytes
-- why: a slot that nobody reads keeps WAL until the disk is full
-- next: bring its reader back, or drop the slot
-- columns: object text; value float8, WAL kept; note text; change text; undo text
-- source: PostgreSQL 17, pg_replication_slots; one that is synced from the primary (17) is dropped there
SELECT format('slot %I', slot_name) AS object,
       round(greatest(0, pg_catalog.pg_wal_lsn_diff(
         CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
              ELSE pg_catalog.pg_current_wal_lsn() END, restart_lsn)) / 1048576.0, 1)::float8 AS value,
       format('wal_status %s, %s', wal_status, CASE WHEN active THEN 'in use' ELSE 'not in use' END) AS note,
       CASE WHEN NOT active AND coalesce(to_jsonb(s) ->> 'synced', 'false') = 'false' THEN format('SELECT pg_catalog.pg_drop_replication_slot(%L);', slot_name) END AS change,
       NULL::text AS undo
FROM pg_catalog.pg_replication_slots AS s
WHERE restart_lsn IS NOT NULL
ORDER BY 2 DESC;
