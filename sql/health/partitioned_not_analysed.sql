-- purpose: the planner knows what partitioned tables hold
-- scope: database
-- unit: %
-- rank: 7
-- threshold: partitioned_least_rows = 10000 | judgement: the plans of a smaller one hardly differ
-- threshold: partitioned_unknown_percent = 50 | judgement: half of the rows came or went since it was analysed
-- warning: partitioned_unknown_percent
-- why: autovacuum analyses partitions and never the table above them: joins and groups of the whole are planned blindly
-- next: ANALYZE it, and again after each large load or each new partition, by a job of your own
-- columns: object text; value float8, share of the partitions' rows that its own statistics do not know, 100 without any; note text;
--   change text; undo text, none; unmeasured text
-- source: PostgreSQL 17, 24.1.3; pg_class.reltuples of a partitioned table is what its last ANALYZE has counted, -1 before
WITH RECURSIVE part AS (
  SELECT c.oid AS root, c.oid, c.relkind
  FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  WHERE c.relkind = 'p' AND NOT c.relispartition AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
                    WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
  UNION ALL
  SELECT part.root, c.oid, c.relkind
  FROM part JOIN pg_catalog.pg_inherits AS h ON h.inhparent = part.oid AND NOT h.inhdetachpending
  JOIN pg_catalog.pg_class AS c ON c.oid = h.inhrelid
), held AS (
  SELECT part.root, sum(greatest(c.reltuples, 0)) AS rows,
         bool_or(c.reltuples < 0 AND pg_catalog.pg_relation_size(c.oid) > 1048576) AS is_unknown
  FROM part JOIN pg_catalog.pg_class AS c ON c.oid = part.oid
  WHERE part.relkind = 'r' GROUP BY part.root
)
SELECT format('%I.%I', n.nspname, c.relname) AS object,
       CASE WHEN c.reltuples < 0 THEN 100
            ELSE round((100 * abs(held.rows - c.reltuples) / greatest(1, held.rows, c.reltuples))::numeric, 1) END::float8 AS value,
       format('its partitions hold about %s rows, %s', held.rows::bigint,
              CASE WHEN c.reltuples < 0 THEN 'and it was never analysed' ELSE format('%s when it was analysed', c.reltuples::bigint) END) AS note,
       format('ANALYZE %I.%I;', n.nspname, c.relname) AS change,
       NULL::text AS undo,
       CASE WHEN held.is_unknown AND c.reltuples >= 0 THEN 'never analysed: how many rows one of its partitions holds is not known' END AS unmeasured
FROM held
JOIN pg_catalog.pg_class AS c ON c.oid = held.root
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE greatest(held.rows, c.reltuples) >= :partitioned_least_rows::float8 OR held.is_unknown
ORDER BY 2 DESC, 1;
