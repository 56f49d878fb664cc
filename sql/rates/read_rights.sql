-- purpose: who we are to the server, and which predefined roles are ours
-- columns: role text; version text; system_identifier text; rights text[]
-- source: PostgreSQL 17, 21.5 predefined roles
SELECT current_user::text AS role,
       pg_catalog.current_setting('server_version') AS version,
       CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
            THEN (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) END AS system_identifier,
       (SELECT coalesce(array_agg(rolname::text), '{}') FROM pg_catalog.pg_roles
        WHERE rolname LIKE 'pg\_%' AND pg_catalog.pg_has_role(current_user, oid, 'USAGE')) AS rights;
