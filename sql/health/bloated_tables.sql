-- purpose: tables hold rows, not empty room
-- scope: database
-- unit: %
-- rank: 7
-- needs: extension:pgstattuple, pg_stat_scan_tables
-- threshold: bloat_least_mebibytes = 64 | judgement: a smaller table or index is not worth rewriting
-- threshold: bloat_most_relations = 50 | judgement: what a daily look may read
-- threshold: table_bloat_warning_percent = 40 | judgement: two fifths empty beyond the fillfactor's reserve
-- warning: table_bloat_warning_percent
-- why: every scan reads the empty room too, and it is kept in memory and in backups
-- next: dead rows: VACUUM, and look at autovacuum; empty room: pg_repack, or VACUUM FULL while nobody needs the table
-- columns: object text; value float8, share that is dead or empty beyond the fillfactor's reserve; note text; change text; undo text; unmeasured text
-- source: PostgreSQL 17, F.33 pgstattuple_approx: measured, not estimated from pg_stats; a TOAST table is measured too, and rewritten with its table
WITH large AS (
  SELECT c.oid, CASE c.relkind WHEN 't' THEN 'TOAST of ' ELSE '' END AS kind,
         format('%I.%I', n.nspname, t.relname) AS name, pg_catalog.pg_relation_size(c.oid) AS bytes,
         coalesce(substring(array_to_string(c.reloptions, ',') FROM 'fillfactor=(\d+)')::int, 100) AS fill,
         row_number() OVER (ORDER BY pg_catalog.pg_relation_size(c.oid) DESC, c.oid) AS place
  FROM pg_catalog.pg_class AS c
  LEFT JOIN pg_catalog.pg_class AS o ON o.reltoastrelid = c.oid
  JOIN pg_catalog.pg_class AS t ON t.oid = coalesce(o.oid, c.oid)
  JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
  JOIN pg_catalog.pg_am AS m ON m.oid = c.relam AND m.amname = 'heap'
  WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND NOT (pg_catalog.pg_is_in_recovery() AND c.relpersistence = 'u')
    AND pg_catalog.pg_relation_size(c.oid) >= :bloat_least_mebibytes::float8 * 1048576
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
                    WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = t.oid AND e.deptype = 'e')
)
SELECT l.kind || l.name AS object,
       round((greatest(0, p.approx_free_percent - (100 - l.fill)) + p.dead_tuple_percent)::numeric, 1)::float8 AS value,
       format('%s MiB, of which empty %s %%, dead rows %s %% (fillfactor %s)', round(l.bytes / 1048576.0, 1),
              round(p.approx_free_percent::numeric, 1), round(p.dead_tuple_percent::numeric, 1), l.fill) AS note,
       CASE WHEN p.dead_tuple_percent > p.approx_free_percent THEN format('VACUUM (VERBOSE) %s;', l.name)
            ELSE format(E'-- Locks the table against everybody while it is rewritten; pg_repack does not.\nVACUUM (FULL, VERBOSE) %s;', l.name)
       END AS change,
       NULL::text AS undo, NULL::text AS unmeasured
FROM large AS l CROSS JOIN LATERAL :pgstattuple.pgstattuple_approx(l.oid::regclass) AS p
WHERE l.place <= :bloat_most_relations::float8
UNION ALL
SELECT format('%s further tables', count(*)), NULL, NULL, NULL, NULL,
       format('only the %s largest are read; raise bloat_most_relations', :bloat_most_relations::float8)
FROM large WHERE place > :bloat_most_relations::float8 HAVING count(*) > 0
ORDER BY 2 DESC NULLS LAST, 1;
