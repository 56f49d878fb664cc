-- purpose: no index is invalid
-- expect: rows = 0
-- unit: indexes
-- about: catalogs
-- severity: error
-- why: an invalid index is not used, and a unique one does not hold what it promises
-- next: REINDEX INDEX CONCURRENTLY …, or drop it, in production
-- columns: index_name text; relation text
-- source: PostgreSQL 17, pg_index
SELECT format('%I.%I', n.nspname, i.relname) AS index_name, format('%I.%I', tn.nspname, t.relname) AS relation
FROM pg_catalog.pg_index AS x
JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = i.relnamespace
JOIN pg_catalog.pg_class AS t ON t.oid = x.indrelid
JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
WHERE NOT x.indisvalid
ORDER BY 1;
