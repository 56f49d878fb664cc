-- purpose: settings that ALTER ROLE and ALTER DATABASE have made
-- columns: name text (whose); value text
-- privilege: none
-- source: PostgreSQL 17, pg_db_role_setting
SELECT pg_catalog.concat_ws(' in ', coalesce(r.rolname, 'all roles'), d.datname) AS name,
       pg_catalog.array_to_string(s.setconfig, '; ') AS value
FROM pg_catalog.pg_db_role_setting AS s
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
ORDER BY 1;
