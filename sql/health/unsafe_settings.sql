-- purpose: no setting gives durability away
-- scope: cluster
-- unit: settings
-- rank: 1
-- any: critical
-- why: a crash or power loss may then lose or damage data
-- next: set it back and look why it was changed
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, 19.5.1 and 19.17
SELECT name AS object, 1::float8 AS value, format('is %s (%s)', setting, source) AS note,
       format('ALTER SYSTEM SET %I = %L;%s', name, CASE setting WHEN 'on' THEN 'off' ELSE 'on' END,
              E'\nSELECT pg_catalog.pg_reload_conf();') AS change,
       format('ALTER SYSTEM SET %I = %L;%s', name, setting, E'\nSELECT pg_catalog.pg_reload_conf();') AS undo
FROM pg_catalog.pg_settings
WHERE (name, setting) IN (('fsync', 'off'), ('full_page_writes', 'off'), ('zero_damaged_pages', 'on'),
                          ('ignore_checksum_failure', 'on'), ('autovacuum', 'off'), ('track_counts', 'off'))
ORDER BY 1;
