-- purpose: who we are to the server, and which predefined roles are ours
-- columns: role text; version text; system_identifier text; timeline int, that the server writes, NULL on a standby; rights text[]
-- source: PostgreSQL 17, 21.5 predefined roles
SELECT current_user::text AS role,
       pg_catalog.current_setting('server_version') AS version,
       CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
            THEN (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) END AS system_identifier,
       CASE WHEN NOT pg_catalog.pg_is_in_recovery()
            THEN ('x' || substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int END AS timeline,
       (SELECT coalesce(array_agg(rolname::text), '{}') FROM pg_catalog.pg_roles
        WHERE rolname LIKE 'pg\_%' AND pg_catalog.pg_has_role(current_user, oid, 'USAGE')) AS rights;
