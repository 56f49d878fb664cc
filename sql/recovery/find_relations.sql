-- purpose: which of these relations are here, by oid or by name; a name of which there is another relation counts as here
-- params: oids bigint[]; schemas text[]; names text[]
-- columns: position bigint; oid bigint; is_same bool (the same relation, not one made again)
-- privilege: none
-- source: PostgreSQL 17, pg_class
SELECT w.position, c.oid::bigint AS oid, c.oid = w.oid::oid AS is_same
FROM ROWS FROM (
    pg_catalog.unnest(:oids::bigint[]), pg_catalog.unnest(:schemas::text[]), pg_catalog.unnest(:names::text[])
) WITH ORDINALITY AS w (oid, schema, name, position)
JOIN pg_catalog.pg_class AS c ON c.oid = w.oid::oid
    OR (c.relname = w.name AND c.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname = w.schema))
ORDER BY w.position, is_same DESC;
