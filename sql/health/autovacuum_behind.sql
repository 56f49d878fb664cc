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
-- source: PostgreSQL 17, 24.1.6 and pg_class.reloptions; a TOAST table has its own, else those of its table; since 18 autovacuum_vacuum_max_threshold
WITH told AS (
  SELECT c.oid, c.relkind, s.n_dead_tup, s.last_autovacuum, c.reltuples, coalesce(m.oid, c.oid) AS rel,
         CASE WHEN c.relkind = 't' AND c.reloptions IS NOT NULL THEN 'toast.' ELSE '' END AS prefix,
         coalesce(o.base, pg_catalog.current_setting('autovacuum_vacuum_threshold')::float8) AS base,
         coalesce(o.scale, pg_catalog.current_setting('autovacuum_vacuum_scale_factor')::float8) AS scale,
         nullif(coalesce(o.most, pg_catalog.current_setting('autovacuum_vacuum_max_threshold', true)::float8), -1) AS most,
         o.enabled
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_stat_all_tables AS s ON s.relid = c.oid
  LEFT JOIN pg_catalog.pg_class AS m ON m.reltoastrelid = c.oid
  CROSS JOIN LATERAL (
    SELECT max(option_value::float8) FILTER (WHERE option_name = 'autovacuum_vacuum_threshold') AS base,
           max(option_value::float8) FILTER (WHERE option_name = 'autovacuum_vacuum_scale_factor') AS scale,
           max(option_value::float8) FILTER (WHERE option_name = 'autovacuum_vacuum_max_threshold') AS most,
           coalesce(bool_and(option_value::boolean) FILTER (WHERE option_name = 'autovacuum_enabled'), true) AS enabled
    FROM pg_catalog.pg_options_to_table(coalesce(c.reloptions, m.reloptions))
  ) AS o
  WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND coalesce(m.relnamespace, 0) <> 'pg_catalog'::regnamespace AND s.n_dead_tup >= :autovacuum_least_dead_rows::float8
), limited AS (
  SELECT told.*, least(base + scale * greatest(reltuples, 0), most) AS due FROM told
)
SELECT format('%s%I.%I', CASE t.relkind WHEN 't' THEN 'TOAST of ' ELSE '' END, n.nspname, c.relname) AS object,
       round((t.n_dead_tup / greatest(1, t.due))::numeric, 1)::float8 AS value,
       format('about %s dead rows, threshold %s; last autovacuum %s%s', t.n_dead_tup, round(t.due::numeric),
              coalesce(t.last_autovacuum::text, 'never seen'), CASE WHEN t.enabled THEN '' ELSE '; autovacuum is off for this table' END) AS note,
       format('VACUUM (VERBOSE) %I.%I;', n.nspname, c.relname)
         || CASE WHEN t.enabled THEN '' ELSE format(E'\nALTER TABLE %I.%I RESET (%sautovacuum_enabled);', n.nspname, c.relname, t.prefix) END AS change,
       CASE WHEN NOT t.enabled THEN format('ALTER TABLE %I.%I SET (%sautovacuum_enabled = off);', n.nspname, c.relname, t.prefix) END AS undo,
       CASE WHEN pg_catalog.current_setting('track_counts') = 'off' THEN 'track_counts is off' END AS unmeasured
FROM limited AS t
JOIN pg_catalog.pg_class AS c ON c.oid = t.rel
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY 2 DESC, 1;
