-- purpose: no role passes by row-level security
-- scope: cluster
-- unit: roles
-- rank: 1
-- any: critical
-- why: BYPASSRLS reads and writes every row whatever the policies say
-- next: take the attribute away; write a policy for what the role must see
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, pg_roles.rolbypassrls; superusers are told by superusers
SELECT format('%I', rolname) AS object, 1::float8 AS value,
       CASE WHEN rolcanlogin THEN 'can log in' ELSE 'cannot log in, but members can SET ROLE to it' END AS note,
       format('ALTER ROLE %I NOBYPASSRLS;', rolname) AS change, format('ALTER ROLE %I BYPASSRLS;', rolname) AS undo
FROM pg_catalog.pg_roles WHERE rolbypassrls AND NOT rolsuper ORDER BY 1;
