-- purpose: no role passes by row-level security
-- scope: cluster
-- unit: roles
-- rank: 1
-- any: critical
-- why: BYPASSRLS reads and writes every row whatever the policies say
-- next: take the attribute away; write a policy for what the role must see
-- given: reader_role
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, pg_roles.rolbypassrls; superusers are reported by superusers.sql. The role that reads tables for
--   us (params: cluster.reader_role) must see all rows; it is none of these as long as it holds what `runbook doctor` prints and no more
SELECT format('%I', rolname) AS object, 1::float8 AS value,
       CASE WHEN rolcanlogin THEN 'can log in' ELSE 'cannot log in, but members can SET ROLE to it' END AS note,
       format('ALTER ROLE %I NOBYPASSRLS;', rolname) AS change, format('ALTER ROLE %I BYPASSRLS;', rolname) AS undo
FROM pg_catalog.pg_roles AS r
WHERE rolbypassrls AND NOT rolsuper
  AND NOT (rolname = :'reader_role' AND NOT (rolcreaterole OR rolcreatedb OR rolreplication)
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members AS a
                           WHERE a.roleid = r.oid
                              OR a.member = r.oid AND a.roleid NOT IN (SELECT oid FROM pg_catalog.pg_roles WHERE rolname IN ('pg_read_all_data', 'pg_monitor'))))
ORDER BY 1;
