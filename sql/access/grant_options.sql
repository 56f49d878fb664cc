-- purpose: nobody but owners hands on privileges
-- scope: database
-- unit: privileges
-- rank: 4
-- any: warning
-- why: who has the grant option decides alone who else gets in
-- next: REVOKE GRANT OPTION FOR …, after a look at what was handed on already (CASCADE takes it back)
-- columns: object text; value float8, privileges with grant option; note text; change text; undo text
-- source: PostgreSQL 17, aclexplode
WITH objects AS (
  SELECT format('%s %I.%I', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, c.relname) AS name, c.relowner AS owner, c.relacl AS acl
  FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  UNION ALL
  SELECT format('SCHEMA %I', nspname), nspowner, nspacl FROM pg_catalog.pg_namespace
  UNION ALL
  SELECT format('ROUTINE %I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)), p.proowner, p.proacl
  FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
  UNION ALL
  SELECT format('DATABASE %I', datname), datdba, datacl FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
)
SELECT format('%s to %I', o.name, coalesce(r.rolname::text, e.grantee::text)) AS object, count(*)::float8 AS value,
       string_agg(e.privilege_type, ', ' ORDER BY e.privilege_type) AS note,
       format('REVOKE GRANT OPTION FOR %s ON %s FROM %s;', string_agg(e.privilege_type, ', ' ORDER BY e.privilege_type), o.name, pg_catalog.quote_ident(r.rolname)) AS change,
       format('GRANT %s ON %s TO %s WITH GRANT OPTION;', string_agg(e.privilege_type, ', ' ORDER BY e.privilege_type), o.name, pg_catalog.quote_ident(r.rolname)) AS undo
FROM objects AS o CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) AS e
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = e.grantee
WHERE e.is_grantable AND e.grantee <> o.owner AND e.grantee <> 10
GROUP BY o.name, r.rolname, e.grantee ORDER BY 1;
