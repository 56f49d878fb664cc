-- purpose: the largest tables of this database with all that belongs to them, for the report's plot
-- params: most int
-- columns: relation text; size_bytes bigint (bytes)
-- source: PostgreSQL 17, pg_total_relation_size
SELECT format('%I.%I', n.nspname, c.relname) AS relation, pg_catalog.pg_total_relation_size(c.oid) AS size_bytes
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
ORDER BY size_bytes DESC
LIMIT :most::int;
