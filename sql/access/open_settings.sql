-- purpose: no setting takes privileges out of force
-- scope: cluster
-- unit: settings
-- rank: 1
-- any: critical
-- why: lo_compat_privileges lets everybody read and change every large object; allow_system_table_mods lets superusers break the catalog unseen
-- next: turn it off
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, 19.13 and 19.17
SELECT name AS object, 1::float8 AS value, 'is on' AS note,
       format(E'ALTER SYSTEM SET %I = off;\nSELECT pg_catalog.pg_reload_conf();', name) AS change,
       format(E'ALTER SYSTEM SET %I = on;\nSELECT pg_catalog.pg_reload_conf();', name) AS undo
FROM pg_catalog.pg_settings WHERE name IN ('lo_compat_privileges', 'allow_system_table_mods') AND setting = 'on' ORDER BY 1;
