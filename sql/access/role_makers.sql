-- purpose: no role beside superusers makes roles
-- scope: cluster
-- unit: roles
-- rank: 2
-- any: warning
-- why: it can make roles and give them whatever it may hand on
-- next: take the attribute away, or have it excepted: runbook exception access-audit --finding
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, pg_roles.rolcreaterole
SELECT format('%I', rolname) AS object, 1::float8 AS value,
       CASE WHEN rolcanlogin THEN 'can log in' ELSE 'cannot log in, but members can SET ROLE to it' END AS note,
       format('ALTER ROLE %I NOCREATEROLE;', rolname) AS change, format('ALTER ROLE %I CREATEROLE;', rolname) AS undo
FROM pg_catalog.pg_roles WHERE rolcreaterole AND NOT rolsuper ORDER BY 1;
