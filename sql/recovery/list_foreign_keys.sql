-- purpose: the foreign keys of a table: which of its columns need a row of which other table, and by which operators they are compared
-- params: oid bigint
-- columns: name text; parent_schema text; parent_name text; parent_kind text; columns text[]; parent_columns text[];
--   operators text[] (parent first)
-- privilege: none
-- source: PostgreSQL 17, pg_constraint
SELECT c.conname AS name,
       n.nspname AS parent_schema,
       p.relname AS parent_name,
       p.relkind::text AS parent_kind,
       parts.columns,
       parts.parent_columns,
       parts.operators
FROM pg_catalog.pg_constraint AS c
JOIN pg_catalog.pg_class AS p ON p.oid = c.confrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.relnamespace
CROSS JOIN LATERAL (
    SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.position) AS columns,
           pg_catalog.array_agg(b.attname::text ORDER BY k.position) AS parent_columns,
           pg_catalog.array_agg(pg_catalog.format('OPERATOR(%I.%s)', s.nspname, o.oprname) ORDER BY k.position) AS operators
    FROM ROWS FROM (pg_catalog.unnest(c.conkey), pg_catalog.unnest(c.confkey), pg_catalog.unnest(c.conpfeqop)) WITH ORDINALITY AS k (own, other, operator, position)
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.own
    JOIN pg_catalog.pg_attribute AS b ON b.attrelid = c.confrelid AND b.attnum = k.other
    JOIN pg_catalog.pg_operator AS o ON o.oid = k.operator
    JOIN pg_catalog.pg_namespace AS s ON s.oid = o.oprnamespace
) AS parts
WHERE c.conrelid = :oid::oid
  AND c.contype = 'f'
  -- a key to a partitioned table stands here once more for each of its partitions
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS u WHERE u.oid = c.conparentid AND u.conrelid = c.conrelid)
ORDER BY c.conname;
