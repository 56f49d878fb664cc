-- purpose: databases, tablespaces and parameters are not open to everybody
-- scope: cluster
-- unit: of 2
-- rank: 2
-- threshold: server_open_warning = 1 | judgement: who may set a parameter for superusers alone should have been approved
-- threshold: server_open_critical = 2 | judgement: PUBLIC, anon and authenticated are everybody
-- warning: server_open_warning
-- critical: server_open_critical
-- why: CREATE on a database or tablespace makes schemas and fills disks; a parameter for superusers alone can load code or hide traces; 1 a named role, 2 everybody
-- next: revoke it
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, pg_database, pg_tablespace, pg_parameter_acl; memberships of anon and authenticated count
WITH everybody AS (
  SELECT DISTINCT g.oid
  FROM pg_catalog.pg_roles AS g
  JOIN pg_catalog.pg_roles AS v ON v.rolname IN ('anon', 'authenticated') AND NOT v.rolsuper
   AND pg_catalog.pg_has_role(v.oid, g.oid, CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'USAGE,SET' ELSE 'MEMBER' END)
), held AS (
  SELECT format('DATABASE %I', d.datname) AS name, d.datdba AS owner, e.grantee, e.privilege_type
  FROM pg_catalog.pg_database AS d CROSS JOIN LATERAL pg_catalog.aclexplode(d.datacl) AS e WHERE e.privilege_type = 'CREATE'
  UNION ALL
  SELECT format('TABLESPACE %I', t.spcname), t.spcowner, e.grantee, e.privilege_type
  FROM pg_catalog.pg_tablespace AS t CROSS JOIN LATERAL pg_catalog.aclexplode(t.spcacl) AS e
  UNION ALL
  SELECT format('PARAMETER %I', a.parname), 10::oid, e.grantee, e.privilege_type
  FROM pg_catalog.pg_parameter_acl AS a CROSS JOIN LATERAL pg_catalog.aclexplode(a.paracl) AS e
), named AS (
  SELECT h.name, h.privilege_type, CASE h.grantee WHEN 0 THEN 'PUBLIC' ELSE format('%I', coalesce(r.rolname::text, h.grantee::text)) END AS who,
         h.grantee = 0 OR h.grantee IN (SELECT oid FROM everybody) AS is_everybody
  FROM held AS h LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = h.grantee
  WHERE h.grantee <> h.owner AND coalesce(NOT r.rolsuper, true)
)
SELECT format('%s to %s', name, who) AS object, (CASE WHEN bool_or(is_everybody) THEN 2 ELSE 1 END)::float8 AS value,
       string_agg(privilege_type, ', ' ORDER BY privilege_type) AS note,
       format('REVOKE %s ON %s FROM %s;', string_agg(privilege_type, ', ' ORDER BY privilege_type), name, who) AS change,
       format('GRANT %s ON %s TO %s;', string_agg(privilege_type, ', ' ORDER BY privilege_type), name, who) AS undo
FROM named WHERE is_everybody OR name LIKE 'PARAMETER %' GROUP BY name, who ORDER BY 2 DESC, 1;
