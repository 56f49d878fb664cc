-- purpose: deletes find the rows that refer to them by an index
-- scope: database
-- unit: rows
-- rank: 7
-- threshold: foreign_key_least_rows = 10000 | judgement: a smaller table is read as fast without
-- any: warning
-- why: each DELETE or key UPDATE of the other table reads this whole table, with its rows locked against it
-- next: create the index, unless rows of the other table are never deleted and their keys never change
-- columns: object text; value float8, rows as of the last ANALYZE or VACUUM; note text; change text; undo text; unmeasured text
-- source: PostgreSQL 17, 5.5.5; an index serves when its leading columns are the key's, in any order
WITH bare AS (
  SELECT f.*, n.nspname, t.relname, t.reltuples, pg_catalog.pg_relation_size(t.oid) AS bytes,
         (SELECT string_agg(format('%I', a.attname), ', ' ORDER BY k.ord)
          FROM unnest(f.conkey) WITH ORDINALITY AS k(att, ord)
          JOIN pg_catalog.pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = k.att) AS columns,
         pg_catalog.left(format('%s_%s_fk_idx', t.relname, f.oid), 63) AS index_name
  FROM pg_catalog.pg_constraint AS f
  JOIN pg_catalog.pg_class AS t ON t.oid = f.conrelid AND t.relkind = 'r'
  JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
  WHERE f.contype = 'f' AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_index AS x
    WHERE x.indrelid = f.conrelid AND x.indisvalid AND x.indpred IS NULL
      AND (x.indkey::smallint[])[0 : cardinality(f.conkey) - 1] @> f.conkey)
)
SELECT format('%I.%I.%I', nspname, relname, conname) AS object,
       CASE WHEN reltuples >= 0 THEN reltuples::float8 END AS value,
       format('(%s) refers to %s', columns, (SELECT format('%I.%I', pn.nspname, p.relname) FROM pg_catalog.pg_class AS p
              JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace WHERE p.oid = confrelid)) AS note,
       format('CREATE INDEX CONCURRENTLY %I ON %I.%I (%s);', index_name, nspname, relname, columns) AS change,
       format('DROP INDEX CONCURRENTLY %I.%I;', nspname, index_name) AS undo,
       CASE WHEN reltuples < 0 THEN 'never analysed: how many rows it holds is not known' END AS unmeasured
FROM bare
WHERE reltuples >= :foreign_key_least_rows::float8 OR reltuples < 0 AND bytes > 1048576
ORDER BY 2 DESC NULLS LAST, 1;
