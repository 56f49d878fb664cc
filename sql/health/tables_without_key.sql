-- purpose: every row can be told from every other
-- scope: database
-- unit: rows
-- rank: 8
-- threshold: keyless_table_least_rows = 1000 | judgement: a smaller one is a setting or a scratch pad
-- any: warning
-- why: lost rows cannot be copied back by key, logical replication cannot update or delete, and nothing refuses duplicates
-- next: find the columns that tell rows apart, then add the key
-- columns: object text; value float8, rows as of the last ANALYZE or VACUUM; note text; unmeasured text
-- source: PostgreSQL 17, 29.1.1: a primary key, or a valid unique index on columns that are NOT NULL, for all rows
SELECT format('%I.%I', n.nspname, c.relname) AS object,
       CASE WHEN c.reltuples >= 0 THEN c.reltuples::float8 END AS value,
       'no primary key, no unique index on columns that are NOT NULL' || CASE WHEN c.relispartition THEN '; a partition' ELSE '' END AS note,
       CASE WHEN c.reltuples < 0 THEN 'never analysed: how many rows it holds is not known' END AS unmeasured
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND (c.reltuples >= :keyless_table_least_rows::float8 OR c.reltuples < 0 AND pg_catalog.pg_relation_size(c.oid) > 1048576)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
                  WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_index AS x
    WHERE x.indrelid = c.oid AND x.indisvalid AND x.indisunique AND x.indpred IS NULL AND x.indexprs IS NULL
      AND NOT EXISTS (
        SELECT FROM unnest((x.indkey::smallint[])[0 : x.indnkeyatts - 1]) AS k(att)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.att
        WHERE NOT a.attnotnull))
ORDER BY 2 DESC NULLS LAST, 1;
