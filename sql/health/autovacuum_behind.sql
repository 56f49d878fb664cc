-- purpose: autovacuum keeps up with every table
-- scope: database
-- unit: times the threshold
-- rank: 6
-- threshold: autovacuum_warning_times = 2 | judgement: once over the threshold it is due, twice over it is late
-- threshold: autovacuum_least_dead_rows = 10000 | judgement: fewer do not matter
-- warning: autovacuum_warning_times
-- why: dead rows are read by every scan and the table grows
-- next: VACUUM the table; then look for long transactions, or lower autovacuum_vacuum_scale_factor for it
-- columns: object text; value float8, dead rows against the table's own threshold; note text; change text; undo text; unmeasured text
-- source: PostgreSQL 17, 24.1.6 and pg_class.reloptions
SELECT format('%I.%I', n.nspname, c.relname) AS object,
       round((s.n_dead_tup / greatest(1, o.base + o.scale * greatest(c.reltuples, 0)))::numeric, 1)::float8 AS value,
       format('about %s dead rows, threshold %s; last autovacuum %s%s', s.n_dead_tup,
              round((o.base + o.scale * greatest(c.reltuples, 0))::numeric), coalesce(s.last_autovacuum::text, 'never seen'),
              CASE WHEN o.enabled THEN '' ELSE '; autovacuum is off for this table' END) AS note,
       format('VACUUM (VERBOSE) %I.%I;', n.nspname, c.relname)
         || CASE WHEN o.enabled THEN '' ELSE format(E'\nALTER TABLE %I.%I RESET (autovacuum_enabled);', n.nspname, c.relname) END AS change,
       CASE WHEN NOT o.enabled THEN format('ALTER TABLE %I.%I SET (autovacuum_enabled = off);', n.nspname, c.relname) END AS undo,
       CASE WHEN pg_catalog.current_setting('track_counts') = 'off' THEN 'track_counts is off' END AS unmeasured
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_stat_all_tables AS s ON s.relid = c.oid
CROSS JOIN LATERAL (
  SELECT coalesce(substring(array_to_string(c.reloptions, ',') FROM 'autovacuum_vacuum_threshold=(\d+)')::float8,
                  pg_catalog.current_setting('autovacuum_vacuum_threshold')::float8) AS base,
         coalesce(substring(array_to_string(c.reloptions, ',') FROM 'autovacuum_vacuum_scale_factor=([0-9.]+)')::float8,
                  pg_catalog.current_setting('autovacuum_vacuum_scale_factor')::float8) AS scale,
         coalesce(substring(array_to_string(c.reloptions, ',') FROM 'autovacuum_enabled=(\w+)') NOT IN ('off', 'false', 'no', '0'),
                  true) AS enabled
) AS o
WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_temp'
  AND s.n_dead_tup >= :autovacuum_least_dead_rows::float8
ORDER BY 2 DESC, 1;
