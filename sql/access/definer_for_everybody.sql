-- purpose: not everybody may call a SECURITY DEFINER function
-- scope: database
-- unit: functions
-- rank: 3
-- any: warning
-- why: PostgreSQL lets PUBLIC call each new function, and this one runs with its owner's rights
-- next: REVOKE EXECUTE … FROM PUBLIC, and GRANT it to who needs it
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, 5.8 privileges; anon is who calls a Supabase API without a login; its memberships count
WITH everybody AS (
  SELECT g.oid, g.rolname FROM pg_catalog.pg_roles AS g JOIN pg_catalog.pg_roles AS v ON v.rolname = 'anon' AND NOT v.rolsuper
   AND pg_catalog.pg_has_role(v.oid, g.oid, CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'USAGE,SET' ELSE 'MEMBER' END)
)
SELECT format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)) AS object, 1::float8 AS value,
       format('owned by %I; %s may call it', o.rolname, string_agg(DISTINCT CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(r.rolname) END, ', ')) AS note,
       format('REVOKE EXECUTE ON ROUTINE %I.%I(%s) FROM %s;', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid),
              string_agg(DISTINCT CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(r.rolname) END, ', ')) AS change,
       format('GRANT EXECUTE ON ROUTINE %I.%I(%s) TO %s;', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid),
              string_agg(DISTINCT CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(r.rolname) END, ', ')) AS undo
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_roles AS o ON o.oid = p.proowner
CROSS JOIN LATERAL pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) AS e
LEFT JOIN everybody AS r ON r.oid = e.grantee
WHERE p.prosecdef AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND (e.grantee = 0 OR r.oid IS NOT NULL) AND e.grantee <> p.proowner
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
GROUP BY n.nspname, p.proname, p.oid, o.rolname ORDER BY 1;
