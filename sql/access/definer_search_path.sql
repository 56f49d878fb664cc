-- purpose: every SECURITY DEFINER function pins its search_path
-- scope: database
-- unit: functions
-- rank: 1
-- any: critical
-- why: the caller's search_path decides which tables and functions it finds, and they run with the owner's rights
-- next: ALTER FUNCTION … SET search_path, after a look at which schemas it needs
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, CREATE FUNCTION: writing SECURITY DEFINER functions safely
SELECT format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)) AS object, 1::float8 AS value,
       format('owned by %I%s', r.rolname, CASE WHEN r.rolsuper THEN ', a superuser' ELSE '' END) AS note,
       format('ALTER ROUTINE %I.%I(%s) SET search_path = %I, pg_temp;', n.nspname, p.proname,
              pg_catalog.pg_get_function_identity_arguments(p.oid), n.nspname) AS change,
       format('ALTER ROUTINE %I.%I(%s) RESET search_path;', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)) AS undo
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_roles AS r ON r.oid = p.proowner
WHERE p.prosecdef AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS c (one) WHERE c.one LIKE 'search\_path=%')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
ORDER BY 1;
