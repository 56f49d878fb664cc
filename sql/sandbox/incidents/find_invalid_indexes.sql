-- purpose: indexes that a failed build left
-- columns: name
SELECT c.relname AS name
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
WHERE NOT i.indisvalid
ORDER BY c.relname
