-- purpose: every row can be told from every other
-- scope: database
-- unit: rows
-- rank: 8
-- threshold: keyless_table_least_rows = 1000 | judgement: a smaller one is a setting or a scratch pad
-- any: warning
-- why: lost rows cannot be copied back by key, logical replication cannot update or delete, and nothing refuses duplicates
-- next: find the columns that tell rows apart, then add the key
-- columns: object text; value float8, rows as of the last ANALYZE or VACUUM, a partitioned table's in its partitions without a key; note text; unmeasured text
-- source: PostgreSQL 17, 29.1.1: a primary key, or a valid unique index on columns that are NOT NULL, for all rows; since 18 a NOT NULL may be NOT VALID
WITH RECURSIVE part AS (
  SELECT c.oid AS root, c.oid, c.relkind
  FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
                    WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
  UNION ALL
  SELECT part.root, c.oid, c.relkind
  FROM part JOIN pg_catalog.pg_inherits AS h ON h.inhparent = part.oid JOIN pg_catalog.pg_class AS c ON c.oid = h.inhrelid
  WHERE part.relkind = 'p' AND c.relkind IN ('r', 'p')
), keyless AS (
  SELECT part.root, count(*) AS parts, sum(greatest(c.reltuples, 0)) AS rows,
         bool_or(c.reltuples < 0 AND pg_catalog.pg_relation_size(c.oid) > 1048576) AS is_unknown
  FROM part JOIN pg_catalog.pg_class AS c ON c.oid = part.oid
  WHERE part.relkind = 'r' AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_index AS x
    WHERE x.indrelid = c.oid AND x.indisvalid AND x.indisunique AND x.indpred IS NULL AND x.indexprs IS NULL
      AND NOT EXISTS (
        SELECT FROM unnest((x.indkey::smallint[])[0 : x.indnkeyatts - 1]) AS k(att)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.att
        WHERE NOT a.attnotnull
           OR EXISTS (SELECT FROM pg_catalog.pg_constraint AS v
                      WHERE v.conrelid = c.oid AND v.contype = 'n' AND v.conkey = ARRAY[k.att] AND NOT v.convalidated)))
  GROUP BY part.root
)
SELECT format('%I.%I', n.nspname, c.relname) AS object,
       CASE WHEN k.rows >= :keyless_table_least_rows::float8 OR NOT k.is_unknown THEN k.rows::float8 END AS value,
       'no primary key, no unique index on columns that are NOT NULL'
         || CASE c.relkind WHEN 'p' THEN format('; so are %s of its partitions', k.parts) ELSE '' END AS note,
       CASE WHEN k.rows < :keyless_table_least_rows::float8 THEN 'never analysed: how many rows it holds is not known' END AS unmeasured
FROM keyless AS k
JOIN pg_catalog.pg_class AS c ON c.oid = k.root
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE k.rows >= :keyless_table_least_rows::float8 OR k.is_unknown
ORDER BY 2 DESC NULLS LAST, 1;
