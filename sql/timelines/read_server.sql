-- purpose: which timeline a running server writes, by the name of the WAL file that it writes to: pg_control lags after a promotion
-- columns: in_recovery bool; timeline bigint, that it writes (NULL in recovery); lsn text, written or replayed so far; system_identifier text (NULL
--   without the right to read it); replayed bigint, the timeline that a server in recovery has replayed at least (NULL out of recovery)
-- privilege: CONNECT; EXECUTE on pg_control_system, pg_control_checkpoint and pg_control_recovery (pg_monitor has it)
-- source: PostgreSQL 17, "Backup Control Functions", "Control Data Functions"
SELECT pg_catalog.pg_is_in_recovery() AS in_recovery,
       CASE WHEN NOT pg_catalog.pg_is_in_recovery()
            THEN ('x' || pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8))::bit(32)::bigint END AS timeline,
       CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
            ELSE pg_catalog.pg_current_wal_insert_lsn() END::text AS lsn,
       CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
            THEN (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) END AS system_identifier,
       CASE WHEN pg_catalog.pg_is_in_recovery()
             AND pg_catalog.has_function_privilege('pg_catalog.pg_control_recovery()', 'EXECUTE')
             AND pg_catalog.has_function_privilege('pg_catalog.pg_control_checkpoint()', 'EXECUTE')
            THEN GREATEST((SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()),
                          (SELECT min_recovery_end_timeline FROM pg_catalog.pg_control_recovery()))::bigint END AS replayed;
