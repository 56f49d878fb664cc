-- purpose: the log says who did what, when, from where
-- scope: cluster
-- unit: settings
-- rank: 4
-- needs: pg_read_all_settings
-- any: warning
-- why: what is not logged cannot be looked into afterwards
-- next: set it as said; connections need no restart, pgaudit needs one
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, 19.8; log_connections is a list since 18
WITH now AS (SELECT name, setting FROM pg_catalog.pg_settings)
SELECT name AS object, 1::float8 AS value, why AS note,
       CASE WHEN wanted IS NOT NULL THEN format(E'ALTER SYSTEM SET %I = %L;\nSELECT pg_catalog.pg_reload_conf();', name, wanted) END AS change,
       CASE WHEN wanted IS NOT NULL THEN format(E'ALTER SYSTEM SET %I = %L;\nSELECT pg_catalog.pg_reload_conf();', name, setting) END AS undo
FROM (
  SELECT name, setting, 'on' AS wanted, 'connections are not logged' AS why FROM now
  WHERE name = 'log_connections' AND setting IN ('off', '')
  UNION ALL
  SELECT name, setting, 'on', 'the end of connections is not logged' FROM now WHERE name = 'log_disconnections' AND setting = 'off'
  UNION ALL
  SELECT name, setting, 'ddl', 'neither log_statement nor pgaudit writes down what is changed' FROM now
  WHERE name = 'log_statement' AND setting = 'none'
    AND NOT EXISTS (SELECT FROM now AS a WHERE a.name = 'pgaudit.log' AND a.setting NOT IN ('', 'none'))
  UNION ALL
  SELECT name, setting, '%m [%p] %q%u@%d/%a %h ', 'a line does not say who (%u), where (%d) and when (%m, %t or %n)' FROM now
  WHERE name = 'log_line_prefix' AND NOT (setting LIKE '%\%u%' AND setting LIKE '%\%d%' AND setting ~ '%[mtn]')
    AND (SELECT a.setting FROM now AS a WHERE a.name = 'log_destination') NOT SIMILAR TO '%(csvlog|jsonlog)%'
  UNION ALL
  SELECT 'shared_preload_libraries', setting, NULL, 'pgaudit is not loaded: reads of single objects leave no trace' FROM now
  WHERE name = 'shared_preload_libraries' AND setting !~ '(^|[,/ "])pgaudit([", ]|$)'
) AS wrong ORDER BY 1;
