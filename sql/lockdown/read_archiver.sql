-- purpose: what the archiver has archived last, and how often and at which segment it failed
-- columns: failed int; last_failed text; last_archived text; archived_at timestamptz; in_recovery boolean;
--   system_identifier text, NULL without the right to see it
-- privilege: CONNECT; pg_monitor to see the system identifier
-- source: PostgreSQL 17, pg_stat_archiver
SELECT a.failed_count::int AS failed, a.last_failed_wal AS last_failed, a.last_archived_wal AS last_archived,
       a.last_archived_time AS archived_at, pg_catalog.pg_is_in_recovery() AS in_recovery,
       CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
            THEN (SELECT c.system_identifier::text FROM pg_catalog.pg_control_system() AS c) END AS system_identifier
FROM pg_catalog.pg_stat_archiver AS a;
