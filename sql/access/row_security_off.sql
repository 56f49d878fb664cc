-- purpose: no table that others may reach is without row-level security
-- scope: database
-- unit: of 2
-- rank: 1
-- threshold: row_security_off_warning = 1 | judgement: a schema that uses row-level security means it for all of its tables
-- threshold: row_security_off_critical = 2 | judgement: PUBLIC, anon and authenticated are everybody
-- warning: row_security_off_warning
-- critical: row_security_off_critical
-- why: whoever holds the grant sees and changes every row; 1 roles reach it beside tables of its schema that have row-level security, 2 everybody reaches it
-- next: write the policies first, then ENABLE ROW LEVEL SECURITY; or revoke the grant
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, 5.9 row security policies; tables that only named roles reach in a schema without row-level security are left in peace
WITH reached AS (
  SELECT c.oid, n.nspname, c.relname, c.relnamespace,
         bool_or(e.grantee = 0 OR r.rolname IN ('anon', 'authenticated')) AS everybody,
         string_agg(DISTINCT CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE format('%I', coalesce(r.rolname::text, e.grantee::text)) END, ', ') AS grantees
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  CROSS JOIN LATERAL (
    SELECT t.grantee, t.privilege_type FROM pg_catalog.aclexplode(c.relacl) AS t
    UNION ALL
    SELECT x.grantee, x.privilege_type FROM pg_catalog.pg_attribute AS a CROSS JOIN LATERAL pg_catalog.aclexplode(a.attacl) AS x
    WHERE a.attrelid = c.oid AND NOT a.attisdropped
  ) AS e
  LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = e.grantee
  WHERE c.relkind IN ('r', 'p') AND NOT c.relrowsecurity AND c.relpersistence <> 't' AND e.grantee <> c.relowner
    AND e.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
    AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  GROUP BY c.oid, n.nspname, c.relname, c.relnamespace
)
SELECT format('%I.%I', nspname, relname) AS object,
       (CASE WHEN everybody THEN 2
             WHEN EXISTS (SELECT FROM pg_catalog.pg_class AS o WHERE o.relnamespace = reached.relnamespace AND o.relrowsecurity) THEN 1
             ELSE 0 END)::float8 AS value,
       'granted to ' || grantees AS note,
       format('ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY;', nspname, relname) AS change,
       format('ALTER TABLE %I.%I DISABLE ROW LEVEL SECURITY;', nspname, relname) AS undo
FROM reached ORDER BY 2 DESC, 1;
