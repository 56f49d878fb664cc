-- purpose: every relation, schema and function has an owner that exists
-- expect: rows = 0
-- unit: objects
-- severity: error
-- why: an object whose owner is gone points to damaged catalogs
-- next: treat the catalogs as damaged; compare pg_authid with production
-- columns: object_name text; owner_oid bigint
-- source: PostgreSQL 17, pg_class, pg_namespace, pg_proc
SELECT o.object_name, o.owner_oid::bigint AS owner_oid
FROM (
  SELECT c.oid::regclass::text AS object_name, c.relowner AS owner_oid FROM pg_catalog.pg_class AS c
  UNION ALL
  SELECT 'schema ' || n.nspname, n.nspowner FROM pg_catalog.pg_namespace AS n
  UNION ALL
  SELECT 'function ' || p.oid::regprocedure::text, p.proowner FROM pg_catalog.pg_proc AS p
) AS o
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.oid = o.owner_oid)
ORDER BY 1;
