-- purpose: which of these relations are here, by oid or by name; a name of which there is another relation counts as here
-- params: oids bigint[]; schemas text[]; names text[]
-- columns: position bigint; oid bigint; is_same bool (the same relation, not one made again)
-- privilege: none
-- source: PostgreSQL 17, pg_class
WITH wanted AS MATERIALIZED (
    SELECT w.position, w.oid::oid AS oid, n.oid AS schema_oid, w.name
    FROM ROWS FROM (
        pg_catalog.unnest(:oids::bigint[]), pg_catalog.unnest(:schemas::text[]), pg_catalog.unnest(:names::text[])
    ) WITH ORDINALITY AS w (oid, schema, name, position)
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema
)
-- One join by OID and one by name: joined by either, each name would be looked up in all schemas that have a relation of that name.
SELECT w.position, c.oid::bigint AS oid, true AS is_same
FROM wanted AS w
JOIN pg_catalog.pg_class AS c ON c.oid = w.oid
UNION ALL
SELECT w.position, c.oid::bigint, c.oid = w.oid
FROM wanted AS w
JOIN pg_catalog.pg_class AS c ON c.relnamespace = w.schema_oid AND c.relname = w.name
WHERE c.oid IS DISTINCT FROM w.oid
ORDER BY position, is_same DESC;
