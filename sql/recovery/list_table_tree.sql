-- purpose: a table and its partitions, from the top down, with the numbers of their files
-- params: oid bigint
-- columns: oid bigint; schema text; name text; kind text; number bigint (null: no file); parent_oid bigint (null: none); level int
-- privilege: none
-- source: PostgreSQL 17, pg_partition_tree, pg_relation_filenode
SELECT c.oid::bigint AS oid,
       n.nspname AS schema,
       c.relname AS name,
       c.relkind::text AS kind,
       pg_catalog.pg_relation_filenode(c.oid)::bigint AS number,
       t.parentrelid::oid::bigint AS parent_oid,
       coalesce(t.level, 0) AS level
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_partition_tree(:oid::oid::regclass) AS t ON t.relid = c.oid
WHERE c.oid = :oid::oid OR t.relid IS NOT NULL
ORDER BY level, n.nspname, c.relname;
