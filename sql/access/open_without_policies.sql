-- purpose: materialized views and foreign tables, which know no row-level security, are not open to everybody
-- scope: database
-- unit: of 2
-- rank: 2
-- threshold: open_without_policies_warning = 1 | judgement: a copy of rows that policies keep is wider than its source
-- threshold: open_without_policies_critical = 2 | judgement: PUBLIC, anon and authenticated are everybody
-- warning: open_without_policies_warning
-- critical: open_without_policies_critical
-- why: whoever holds the grant sees every row; 1 named roles hold it, and it reads tables with row-level security, 2 everybody holds it
-- next: revoke the grant, and let them read a view with security_invoker
-- columns: object text; value float8; note text; change text
-- source: PostgreSQL 17, 5.9 row security policies; memberships of anon and authenticated count
WITH RECURSIVE everybody AS (
  SELECT DISTINCT g.oid
  FROM pg_catalog.pg_roles AS g
  JOIN pg_catalog.pg_roles AS v ON v.rolname IN ('anon', 'authenticated') AND NOT v.rolsuper
   AND pg_catalog.pg_has_role(v.oid, g.oid, CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'USAGE,SET' ELSE 'MEMBER' END)
), reads AS (
  SELECT c.oid AS root, c.oid AS relation FROM pg_catalog.pg_class AS c WHERE c.relkind = 'm'
  UNION
  SELECT r.root, d.refobjid
  FROM reads AS r
  JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = r.relation
  JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass
), reached AS (
  SELECT c.oid, c.relkind, format('%I.%I', n.nspname, c.relname) AS name,
         CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE format('%I', coalesce(r.rolname::text, e.grantee::text)) END AS who,
         e.grantee = 0 OR e.grantee IN (SELECT oid FROM everybody) AS is_everybody,
         EXISTS (SELECT FROM reads AS s JOIN pg_catalog.pg_class AS t ON t.oid = s.relation WHERE s.root = c.oid AND t.relrowsecurity) AS reads_kept
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  CROSS JOIN LATERAL (
    SELECT t.grantee, t.privilege_type FROM pg_catalog.aclexplode(c.relacl) AS t
    UNION
    SELECT x.grantee, x.privilege_type FROM pg_catalog.pg_attribute AS a CROSS JOIN LATERAL pg_catalog.aclexplode(a.attacl) AS x
    WHERE a.attrelid = c.oid AND NOT a.attisdropped
  ) AS e
  LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = e.grantee
  WHERE c.relkind IN ('m', 'f') AND e.grantee <> c.relowner AND e.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
)
SELECT name AS object, (CASE WHEN bool_or(is_everybody) THEN 2 ELSE 1 END)::float8 AS value,
       CASE relkind WHEN 'm' THEN 'a materialized view' ELSE 'a foreign table' END || ', granted to ' || string_agg(DISTINCT who, ', ') AS note,
       format('REVOKE ALL ON TABLE %s FROM %s;', name, string_agg(DISTINCT who, ', ')) AS change
FROM reached WHERE is_everybody OR reads_kept GROUP BY oid, relkind, name ORDER BY 2 DESC, 1;
