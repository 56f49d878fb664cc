-- purpose: which server it is
-- scope: cluster
-- columns: item text; the others are facts
-- source: PostgreSQL 17, pg_control_system, pg_settings
SELECT 'server' AS item, pg_catalog.current_setting('server_version') AS version,
       CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
            THEN (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) ELSE 'not seen' END AS system_identifier,
       pg_catalog.current_setting('data_checksums') AS data_checksums, pg_catalog.current_setting('block_size') AS block_size,
       pg_catalog.current_setting('wal_level') AS wal_level, pg_catalog.current_setting('archive_mode') AS archive_mode,
       pg_catalog.current_setting('max_connections') AS max_connections,
       pg_catalog.pg_is_in_recovery()::text AS in_recovery;
