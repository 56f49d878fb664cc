-- purpose: the roles that the application needs exist
-- database: main
-- expect: rows = 0
-- unit: roles
-- severity: error
-- why: without its roles the application cannot connect
-- next: look whether production has them; create them before the application starts
-- params: required_roles text[]
-- columns: missing_role text
SELECT r.name AS missing_role
FROM unnest(:'required_roles'::text[]) AS r (name)
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS o WHERE o.rolname = r.name)
ORDER BY 1;
