-- purpose: every sequence of this database
-- columns: oid bigint; schema text; name text; persistence text; increment bigint; cycles bool
-- privilege: none
-- source: PostgreSQL 17, pg_sequence
SELECT c.oid::bigint AS oid,
       n.nspname AS schema,
       c.relname AS name,
       c.relpersistence::text AS persistence,
       s.seqincrement AS increment,
       s.seqcycle AS cycles
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_sequence AS s ON s.seqrelid = c.oid
WHERE c.relkind = 'S' AND c.relpersistence <> 't'
ORDER BY n.nspname, c.relname;
