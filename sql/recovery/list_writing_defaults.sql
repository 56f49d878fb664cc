-- purpose: roles and databases whose sessions may write although the server starts them read-only
-- columns: who text
-- privilege: none
-- source: PostgreSQL 17, pg_db_role_setting: a role's or database's default wins over the configuration files
SELECT pg_catalog.concat_ws(' in ', coalesce(r.rolname, 'all roles'), d.datname) AS who
FROM pg_catalog.pg_db_role_setting AS s
CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c (setting)
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
WHERE c.setting LIKE 'default\_transaction\_read\_only=%'
      AND NOT pg_catalog.split_part(c.setting, '=', 2)::boolean
ORDER BY 1;
