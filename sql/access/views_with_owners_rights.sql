-- purpose: views that others may read ask as who reads them
-- scope: database
-- unit: of 2
-- rank: 3
-- threshold: view_rights_warning = 1 | judgement: it may be meant so; then somebody should have said so
-- threshold: view_rights_critical = 2 | PostgreSQL 17, CREATE VIEW: the policies of the view's owner count, not the reader's
-- warning: view_rights_warning
-- critical: view_rights_critical
-- why: without security_invoker a view reads with its owner's rights, past the reader's policies; 1 granted to others, 2 and it reads a table with row-level security, itself or through another view
-- next: set security_invoker, and grant the reader what the view reads
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, CREATE VIEW: security_invoker
WITH RECURSIVE reads AS (
  SELECT c.oid AS root, c.oid AS relation FROM pg_catalog.pg_class AS c WHERE c.relkind = 'v'
  UNION
  SELECT r.root, d.refobjid
  FROM reads AS r
  JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = r.relation
  JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass
)
SELECT format('%I.%I', n.nspname, c.relname) AS object,
       (CASE WHEN EXISTS (SELECT FROM reads AS s JOIN pg_catalog.pg_class AS t ON t.oid = s.relation WHERE s.root = c.oid AND t.relrowsecurity)
             THEN 2 ELSE 1 END)::float8 AS value,
       format('owned by %I, granted to %s', o.rolname,
              string_agg(DISTINCT CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE format('%I', coalesce(r.rolname::text, e.grantee::text)) END, ', ')) AS note,
       format('ALTER VIEW %I.%I SET (security_invoker = true);', n.nspname, c.relname) AS change,
       format('ALTER VIEW %I.%I RESET (security_invoker);', n.nspname, c.relname) AS undo
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles AS o ON o.oid = c.relowner
CROSS JOIN LATERAL (
  SELECT t.grantee FROM pg_catalog.aclexplode(c.relacl) AS t
  UNION
  SELECT x.grantee FROM pg_catalog.pg_attribute AS a CROSS JOIN LATERAL pg_catalog.aclexplode(a.attacl) AS x
  WHERE a.attrelid = c.oid AND NOT a.attisdropped
) AS e
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = e.grantee
WHERE c.relkind = 'v' AND e.grantee <> c.relowner
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_options_to_table(c.reloptions) AS w
                  WHERE w.option_name = 'security_invoker' AND w.option_value::boolean)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
GROUP BY c.oid, n.nspname, c.relname, o.rolname ORDER BY 2 DESC, 1;
