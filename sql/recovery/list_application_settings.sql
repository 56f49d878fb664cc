-- purpose: what a session of the application has: settings of ALTER DATABASE and ALTER ROLE, the narrower one last; and what it has without any
-- params: role text; names text[] (settings that our own sessions change, so that their defaults are asked for)
-- columns: name text; value text; rank int (a higher one wins)
-- privilege: superuser, or EXECUTE on pg_show_all_file_settings
-- source: PostgreSQL 17, pg_db_role_setting, pg_file_settings, pg_settings.boot_val
SELECT s.name, s.boot_val AS value, 0 AS rank
FROM pg_catalog.pg_settings AS s
WHERE s.name = ANY (:names::text[])
UNION ALL
SELECT pg_catalog.lower(f.name), f.setting, 1
FROM pg_catalog.pg_file_settings AS f
WHERE f.applied AND pg_catalog.lower(f.name) = ANY (:names::text[])
UNION ALL
SELECT pg_catalog.lower(pg_catalog.split_part(c.setting, '=', 1)),
       pg_catalog.substr(c.setting, pg_catalog.strpos(c.setting, '=') + 1),
       CASE WHEN d.setdatabase = 0 AND d.setrole = 0 THEN 2 WHEN d.setrole = 0 THEN 3 WHEN d.setdatabase = 0 THEN 4 ELSE 5 END
FROM pg_catalog.pg_db_role_setting AS d
CROSS JOIN LATERAL pg_catalog.unnest(d.setconfig) AS c (setting)
WHERE d.setdatabase IN (0, (SELECT b.oid FROM pg_catalog.pg_database AS b WHERE b.datname = pg_catalog.current_database()))
  AND d.setrole IN (0, (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = :'role'))
ORDER BY rank;
