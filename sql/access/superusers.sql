-- purpose: nobody but the bootstrap superuser is a superuser, or may become one
-- scope: cluster
-- unit: roles
-- rank: 1
-- any: critical
-- why: a superuser passes every privilege, policy and audit, and can run programs as the server's user
-- next: take the attribute away; grant the predefined role that the task needs
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, pg_roles.rolsuper; the bootstrap superuser has OID 10; SET ROLE, through other roles too
SELECT format('%I', rolname) AS object, 1::float8 AS value,
       CASE WHEN rolcanlogin THEN 'can log in' ELSE 'cannot log in, but members can SET ROLE to it' END AS note,
       format('ALTER ROLE %I NOSUPERUSER;', rolname) AS change, format('ALTER ROLE %I SUPERUSER;', rolname) AS undo
FROM pg_catalog.pg_roles WHERE rolsuper AND oid <> 10
UNION ALL
SELECT format('%I in %I', m.rolname, s.rolname), 1,
       CASE WHEN d.is_direct THEN 'can SET ROLE to a superuser' ELSE 'can SET ROLE to a superuser through another role' END,
       CASE WHEN d.is_direct THEN format('REVOKE %I FROM %I;', s.rolname, m.rolname) END, CASE WHEN d.is_direct THEN format('GRANT %I TO %I;', s.rolname, m.rolname) END
FROM pg_catalog.pg_roles AS s
JOIN pg_catalog.pg_roles AS m ON NOT m.rolsuper AND pg_catalog.pg_has_role(m.oid, s.oid, CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)
CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM pg_catalog.pg_auth_members AS a WHERE a.member = m.oid AND a.roleid = s.oid) AS is_direct) AS d
WHERE s.rolsuper ORDER BY 1;
