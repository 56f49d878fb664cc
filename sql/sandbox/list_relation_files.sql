-- purpose: where the tables and indexes of the schema public lie, those with at least one page
-- columns: name; kind table or index; path below the data directory; pages of 8 kB
SELECT c.relname AS name,
       CASE WHEN c.relkind = 'r' THEN 'table' ELSE 'index' END AS kind,
       pg_catalog.pg_relation_filepath(c.oid) AS path,
       (pg_catalog.pg_relation_size(c.oid) / 8192)::int AS pages
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relkind IN ('r', 'i') AND pg_catalog.pg_relation_size(c.oid) > 0
ORDER BY c.relname
