-- purpose: nobody but the bootstrap superuser is a superuser
-- scope: cluster
-- unit: roles
-- rank: 1
-- any: critical
-- why: a superuser passes every privilege, policy and audit, and can run programs as the server's user
-- next: take the attribute away; grant the predefined role that the task needs
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, pg_roles.rolsuper; the bootstrap superuser has OID 10
SELECT format('%I', rolname) AS object, 1::float8 AS value,
       CASE WHEN rolcanlogin THEN 'can log in' ELSE 'cannot log in, but members can SET ROLE to it' END AS note,
       format('ALTER ROLE %I NOSUPERUSER;', rolname) AS change, format('ALTER ROLE %I SUPERUSER;', rolname) AS undo
FROM pg_catalog.pg_roles WHERE rolsuper AND oid <> 10 ORDER BY 1;
