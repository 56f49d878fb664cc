-- purpose: not everybody may create objects in a schema
-- scope: database
-- unit: schemas
-- rank: 1
-- any: critical
-- why: who may create in a schema of others' search_path can put functions and tables before theirs
-- next: revoke it; since PostgreSQL 15 new databases have it so
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, 5.10.6 usage patterns
WITH everybody AS (
  SELECT DISTINCT g.oid
  FROM pg_catalog.pg_roles AS g
  JOIN pg_catalog.pg_roles AS v ON v.rolname IN ('anon', 'authenticated') AND NOT v.rolsuper
   AND pg_catalog.pg_has_role(v.oid, g.oid, CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'USAGE,SET' ELSE 'MEMBER' END)
)
SELECT format('%I', n.nspname) AS object, 1::float8 AS value,
       'CREATE is granted to ' || string_agg(CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(r.rolname) END, ', ' ORDER BY e.grantee) AS note,
       format('REVOKE CREATE ON SCHEMA %I FROM %s;', n.nspname, string_agg(CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(r.rolname) END, ', ' ORDER BY e.grantee)) AS change,
       format('GRANT CREATE ON SCHEMA %I TO %s;', n.nspname, string_agg(CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(r.rolname) END, ', ' ORDER BY e.grantee)) AS undo
FROM pg_catalog.pg_namespace AS n
CROSS JOIN LATERAL pg_catalog.aclexplode(n.nspacl) AS e
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = e.grantee
WHERE e.privilege_type = 'CREATE' AND (e.grantee = 0 OR (e.grantee IN (SELECT oid FROM everybody) AND e.grantee <> n.nspowner))
GROUP BY n.nspname ORDER BY 1;
