-- purpose: no index says what another one says
-- scope: database
-- unit: MiB
-- rank: 8
-- any: warning
-- why: each write pays twice
-- next: drop the one named; the other serves the same queries
-- columns: object text; value float8, size; note text; change text; undo text
-- source: PostgreSQL 17, pg_index: same table, method, columns, classes, collations, options, expressions and predicate
WITH described AS (
  SELECT x.*, i.relname, i.relam, n.nspname, tn.nspname AS table_schema, t.relname AS table_name,
         pg_catalog.pg_get_expr(x.indexprs, x.indrelid) AS expressions,
         pg_catalog.pg_get_expr(x.indpred, x.indrelid) AS predicate,
         EXISTS (SELECT FROM pg_catalog.pg_constraint AS c WHERE c.conindid = x.indexrelid) AS is_needed
  FROM pg_catalog.pg_index AS x
  JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid AND i.relkind = 'i'
  JOIN pg_catalog.pg_namespace AS n ON n.oid = i.relnamespace
  JOIN pg_catalog.pg_class AS t ON t.oid = x.indrelid
  JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
  WHERE x.indisvalid AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND NOT i.relispartition
)
SELECT DISTINCT ON (d.indexrelid) format('%I.%I', d.nspname, d.relname) AS object,
       round(pg_catalog.pg_relation_size(d.indexrelid) / 1048576.0, 1)::float8 AS value,
       format('on %I.%I; %I is the same%s', d.table_schema, d.table_name, k.relname,
              CASE WHEN k.indisunique AND NOT d.indisunique THEN ', and unique' ELSE '' END) AS note,
       format('DROP INDEX CONCURRENTLY %I.%I;', d.nspname, d.relname) AS change,
       regexp_replace(pg_catalog.pg_get_indexdef(d.indexrelid), ' INDEX ', ' INDEX CONCURRENTLY ') || ';' AS undo
FROM described AS d
JOIN described AS k
  ON k.indrelid = d.indrelid AND k.indexrelid <> d.indexrelid AND k.relam = d.relam
 AND k.indkey = d.indkey AND k.indnkeyatts = d.indnkeyatts AND k.indclass = d.indclass
 AND k.indcollation = d.indcollation AND k.indoption = d.indoption
 AND k.expressions IS NOT DISTINCT FROM d.expressions AND k.predicate IS NOT DISTINCT FROM d.predicate
 AND k.indnullsnotdistinct = d.indnullsnotdistinct
-- Of two the one is named that promises less; of equals the newer one.
WHERE NOT d.is_needed AND NOT d.indisreplident AND NOT d.indisclustered AND (NOT d.indisunique OR k.indisunique)
  AND ((k.is_needed OR k.indisreplident OR k.indisclustered OR k.indisunique AND NOT d.indisunique)
       OR k.indisunique = d.indisunique AND k.indexrelid < d.indexrelid)
ORDER BY d.indexrelid, k.indexrelid;
