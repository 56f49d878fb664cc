-- purpose: no table that others may reach is without row-level security
-- scope: database
-- unit: of 2
-- rank: 1
-- threshold: row_security_off_warning = 1 | judgement: a schema that uses row-level security means it for all of its tables
-- threshold: row_security_off_critical = 2 | judgement: PUBLIC, anon and authenticated are everybody
-- warning: row_security_off_warning
-- critical: row_security_off_critical
-- why: whoever holds the grant sees and changes every row; 1 roles reach it beside tables of its schema, or as a part of a table, that have row-level security, 2 everybody reaches it
-- next: write the policies first, then ENABLE ROW LEVEL SECURITY; or revoke the grant
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, 5.9 row security policies; tables that only named roles reach in a schema without row-level security are left in peace; memberships of anon and authenticated count; a partition that is queried directly has its own row-level security, not its parent's
WITH everybody AS (
  SELECT DISTINCT g.oid
  FROM pg_catalog.pg_roles AS g
  JOIN pg_catalog.pg_roles AS v ON v.rolname IN ('anon', 'authenticated') AND NOT v.rolsuper
   AND pg_catalog.pg_has_role(v.oid, g.oid, CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'USAGE,SET' ELSE 'MEMBER' END)
), reached AS (
  SELECT c.oid, n.nspname, c.relname, c.relnamespace,
         bool_or(e.grantee = 0 OR e.grantee IN (SELECT oid FROM everybody)) AS everybody,
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
), parts AS (
  SELECT r.*, EXISTS (SELECT FROM pg_catalog.pg_class AS o WHERE o.relrowsecurity AND (
                        o.oid IN (SELECT i.inhparent FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = r.oid)
                        OR o.oid IN (SELECT a.relid FROM pg_catalog.pg_partition_ancestors(r.oid) AS a (relid)))) AS kept_above
  FROM reached AS r
)
SELECT format('%I.%I', nspname, relname) AS object,
       (CASE WHEN everybody THEN 2
             WHEN EXISTS (SELECT FROM pg_catalog.pg_class AS o WHERE o.relnamespace = parts.relnamespace AND o.relrowsecurity) OR kept_above THEN 1
             ELSE 0 END)::float8 AS value,
       'granted to ' || grantees || CASE WHEN kept_above THEN '; it is a part of a table with row-level security, which does not hold here' ELSE '' END AS note,
       format('ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY;', nspname, relname) AS change,
       format('ALTER TABLE %I.%I DISABLE ROW LEVEL SECURITY;', nspname, relname) AS undo
FROM parts ORDER BY 2 DESC, 1;
