-- purpose: no setting gives durability away
-- scope: cluster
-- unit: settings
-- rank: 1
-- any: critical
-- why: a crash or power loss may then lose or damage data
-- next: set it back and look why it was changed
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, 19.5.1 and 19.17; pg_db_role_setting, which wins over the server's own. ALTER SYSTEM does not reach what the command line says
SELECT name AS object, 1::float8 AS value, format('is %s (%s)', setting, source) AS note,
       CASE WHEN source <> 'command line'
            THEN format(E'ALTER SYSTEM SET %I = %L;\nSELECT pg_catalog.pg_reload_conf();', name, CASE setting WHEN 'on' THEN 'off' ELSE 'on' END) END AS change,
       CASE WHEN sourcefile IS NULL OR sourcefile LIKE '%/postgresql.auto.conf' THEN format('ALTER SYSTEM SET %I = %L;', name, setting)
            ELSE format('ALTER SYSTEM RESET %I;', name) END || E'\nSELECT pg_catalog.pg_reload_conf();' AS undo
FROM pg_catalog.pg_settings
WHERE (name, setting) IN (('fsync', 'off'), ('full_page_writes', 'off'), ('zero_damaged_pages', 'on'),
                          ('ignore_checksum_failure', 'on'), ('autovacuum', 'off'), ('track_counts', 'off'))
  AND source NOT IN ('database', 'user', 'database user', 'client', 'session')
UNION ALL
SELECT format('%s of %s', s.name, o.place), 1, format('is %s there', s.setting), format('ALTER %s RESET %I;', o.altered, s.name),
       format('ALTER %s SET %I = %L;', o.altered, s.name, s.setting)
FROM pg_catalog.pg_db_role_setting AS r
LEFT JOIN pg_catalog.pg_database AS d ON d.oid = r.setdatabase
LEFT JOIN pg_catalog.pg_roles AS u ON u.oid = r.setrole
CROSS JOIN LATERAL (SELECT split_part(one, '=', 1) AS name, substr(one, strpos(one, '=') + 1) AS setting FROM unnest(r.setconfig) AS c (one)) AS s
CROSS JOIN LATERAL (
  SELECT concat_ws(' in ', coalesce('role ' || quote_ident(u.rolname), CASE WHEN d.oid IS NULL THEN 'all roles' END),
                   'database ' || quote_ident(d.datname)) AS place,
         CASE WHEN r.setrole = 0 AND d.oid IS NOT NULL THEN 'DATABASE ' || quote_ident(d.datname)
              ELSE concat_ws(' IN DATABASE ', 'ROLE ' || coalesce(quote_ident(u.rolname), 'ALL'), quote_ident(d.datname)) END AS altered
) AS o
WHERE s.name IN ('zero_damaged_pages', 'ignore_checksum_failure', 'track_counts')
  AND s.setting::boolean = (s.name <> 'track_counts')
ORDER BY 1;
