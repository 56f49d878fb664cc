-- purpose: these relations and all that inherit from them or are their partitions: whoever reads them has those planned, too
-- params: $1 relations oid[]
-- columns: oid bigint; name text; kind text (as in pg_class)
-- privilege: none
-- source: PostgreSQL 17, pg_inherits
WITH RECURSIVE tree (oid) AS (
  SELECT unnest($1::oid[])
  UNION
  SELECT i.inhrelid FROM tree AS t JOIN pg_catalog.pg_inherits AS i ON i.inhparent = t.oid
)
SELECT t.oid::bigint AS oid, format('%I.%I', n.nspname, c.relname) AS name, c.relkind::text AS kind
FROM tree AS t
JOIN pg_catalog.pg_class AS c ON c.oid = t.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY 2;
