-- purpose: PostgreSQL's own tables and functions, large objects and foreign servers are not open to everybody
-- scope: database
-- unit: privileges
-- rank: 1
-- any: critical
-- why: beside what PostgreSQL gives by itself, PUBLIC, anon or authenticated hold privileges on what is meant for few
-- next: revoke them, and grant who needs it
-- columns: object text; value float8, privileges; note text; change text; undo text
-- source: PostgreSQL 17, aclexplode, pg_init_privs; memberships of anon and authenticated count
WITH everybody AS (
  SELECT DISTINCT g.oid
  FROM pg_catalog.pg_roles AS g
  JOIN pg_catalog.pg_roles AS v ON v.rolname IN ('anon', 'authenticated') AND NOT v.rolsuper
   AND pg_catalog.pg_has_role(v.oid, g.oid, CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'USAGE,SET' ELSE 'MEMBER' END)
), objects AS (
  SELECT 'pg_catalog.pg_class'::regclass::oid AS classid, c.oid AS objid, c.relowner AS owner, c.relacl AS acl,
         format('%s %I.%I', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, c.relname) AS name
  FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = 'pg_catalog'
  UNION ALL
  SELECT 'pg_catalog.pg_proc'::regclass::oid, p.oid, p.proowner, p.proacl,
         format('ROUTINE %I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid))
  FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace WHERE n.nspname = 'pg_catalog'
  UNION ALL
  SELECT 'pg_catalog.pg_foreign_data_wrapper'::regclass::oid, oid, fdwowner, fdwacl, format('FOREIGN DATA WRAPPER %I', fdwname)
  FROM pg_catalog.pg_foreign_data_wrapper
  UNION ALL
  SELECT 'pg_catalog.pg_foreign_server'::regclass::oid, oid, srvowner, srvacl, format('FOREIGN SERVER %I', srvname) FROM pg_catalog.pg_foreign_server
  UNION ALL
  SELECT 'pg_catalog.pg_largeobject'::regclass::oid, oid, lomowner, lomacl, format('LARGE OBJECT %s', oid) FROM pg_catalog.pg_largeobject_metadata
), held AS (
  SELECT o.name, CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE format('%I', r.rolname) END AS who, e.privilege_type
  FROM objects AS o CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) AS e
  LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = e.grantee
  WHERE e.grantee <> o.owner AND (e.grantee = 0 OR e.grantee IN (SELECT oid FROM everybody)) AND coalesce(r.rolname !~ '^pg_', true)
    AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(coalesce(
                      (SELECT i.initprivs FROM pg_catalog.pg_init_privs AS i WHERE i.classoid = o.classid AND i.objoid = o.objid AND i.objsubid = 0),
                      CASE WHEN o.classid = 'pg_catalog.pg_proc'::regclass THEN pg_catalog.acldefault('f', o.owner) END)) AS x
                    WHERE x.grantee = e.grantee AND x.privilege_type = e.privilege_type)
)
SELECT format('%s to %s', name, who) AS object, count(*)::float8 AS value, string_agg(privilege_type, ', ' ORDER BY privilege_type) AS note,
       format('REVOKE %s ON %s FROM %s;', string_agg(privilege_type, ', ' ORDER BY privilege_type), name, who) AS change,
       format('GRANT %s ON %s TO %s;', string_agg(privilege_type, ', ' ORDER BY privilege_type), name, who) AS undo
FROM held GROUP BY name, who ORDER BY 1;
