-- purpose: every function, operator and type of these names: what overload resolution may choose from
-- params: $1 schemas text[]; $2 names text[], one to each schema
-- columns: class text; oid bigint; schema text; name text; signature text; is_superusers boolean; extension text
-- privilege: none
-- source: PostgreSQL 17, pg_proc, pg_operator, pg_type, pg_depend
WITH named AS (
  SELECT n.oid, n.nspname, w.name
  FROM ROWS FROM (unnest($1::text[]), unnest($2::text[])) AS w (schema, name)
  JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema
), found AS (
  SELECT 'function' AS class, 'pg_catalog.pg_proc'::pg_catalog.regclass::oid AS classid, p.oid, m.nspname, m.name, p.proowner AS owner,
         format('%I.%I(%s)', m.nspname, m.name, pg_catalog.pg_get_function_identity_arguments(p.oid)) AS signature
  FROM named AS m JOIN pg_catalog.pg_proc AS p ON p.pronamespace = m.oid AND p.proname = m.name
  UNION ALL
  SELECT 'operator', 'pg_catalog.pg_operator'::pg_catalog.regclass, o.oid, m.nspname, m.name, o.oprowner,
         format('%I.%s(%s, %s)', m.nspname, m.name, CASE o.oprleft WHEN 0 THEN 'NONE' ELSE pg_catalog.format_type(o.oprleft, NULL) END,
                pg_catalog.format_type(o.oprright, NULL))
  FROM named AS m JOIN pg_catalog.pg_operator AS o ON o.oprnamespace = m.oid AND o.oprname = m.name
  UNION ALL
  SELECT 'type', 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid, m.nspname, m.name, t.typowner, format('%I.%I', m.nspname, m.name)
  FROM named AS m JOIN pg_catalog.pg_type AS t ON t.typnamespace = m.oid AND t.typname = m.name
)
SELECT f.class, f.oid::bigint AS oid, f.nspname AS schema, f.name, f.signature, coalesce(r.rolsuper, false) AS is_superusers, x.extname AS extension
FROM found AS f
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = f.owner
LEFT JOIN pg_catalog.pg_depend AS d ON d.classid = f.classid AND d.objid = f.oid AND d.deptype = 'e'
 AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
LEFT JOIN pg_catalog.pg_extension AS x ON x.oid = d.refobjid
ORDER BY f.signature;
