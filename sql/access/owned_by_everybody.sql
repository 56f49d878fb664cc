-- purpose: nothing is owned by everybody
-- scope: database
-- unit: objects
-- rank: 1
-- any: critical
-- why: an owner passes by row-level security, alters, drops and grants; no list of grants shows it
-- next: give it to a role that nobody logs in as
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, pg_shdepend (owners); anon, authenticated and every role that they are members of
WITH everybody AS (
  SELECT DISTINCT g.oid, g.rolname, first_value(v.rolname) OVER (PARTITION BY g.oid ORDER BY g.oid <> v.oid, v.rolname) AS through
  FROM pg_catalog.pg_roles AS g
  JOIN pg_catalog.pg_roles AS v ON v.rolname IN ('anon', 'authenticated') AND NOT v.rolsuper
   AND pg_catalog.pg_has_role(v.oid, g.oid, CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'USAGE,SET' ELSE 'MEMBER' END)
)
SELECT format('%s %s', i.type, i.identity) AS object, 1::float8 AS value,
       format('owned by %I', e.rolname) || CASE WHEN e.rolname <> e.through THEN format(', whose member is %I', e.through) ELSE '' END AS note,
       CASE WHEN i.type IN ('table', 'view', 'materialized view', 'foreign table', 'sequence', 'schema', 'type', 'function', 'procedure', 'aggregate', 'database')
            THEN format('ALTER %s %s OWNER TO CURRENT_USER;', upper(i.type), i.identity) END AS change,
       CASE WHEN i.type IN ('table', 'view', 'materialized view', 'foreign table', 'sequence', 'schema', 'type', 'function', 'procedure', 'aggregate', 'database')
            THEN format('ALTER %s %s OWNER TO %I;', upper(i.type), i.identity, e.rolname) END AS undo
FROM pg_catalog.pg_shdepend AS d
JOIN everybody AS e ON e.oid = d.refobjid
CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) AS i
WHERE d.refclassid = 'pg_catalog.pg_authid'::regclass AND d.deptype = 'o'
  AND d.dbid IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
ORDER BY 1;
