-- purpose: the relations of these names: what they are, and whose
-- params: $1 schemas text[]; $2 names text[], one to each schema
-- columns: oid bigint; schema text; name text; kind text (as in pg_class); is_temporary boolean; extension text, with a superuser as owner only
-- privilege: none
-- source: PostgreSQL 17, pg_class, pg_depend
SELECT c.oid::bigint AS oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind, c.relpersistence = 't' AS is_temporary,
       CASE WHEN r.rolsuper THEN x.extname END AS extension
FROM ROWS FROM (unnest($1::text[]), unnest($2::text[])) AS w (schema, name)
JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.name
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = c.relowner
LEFT JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'
 AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
LEFT JOIN pg_catalog.pg_extension AS x ON x.oid = d.refobjid
ORDER BY n.nspname, c.relname;
