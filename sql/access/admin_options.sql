-- purpose: nobody beside superusers hands on memberships
-- scope: cluster
-- unit: memberships
-- rank: 3
-- any: warning
-- why: who has the admin option decides alone who else gets the role
-- next: revoke the admin option, first from those to whom it was handed on, or have it excepted
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, pg_auth_members.admin_option
SELECT DISTINCT format('%I in %I', m.rolname, r.rolname) AS object, 1::float8 AS value, 'WITH ADMIN OPTION' AS note,
       format('REVOKE ADMIN OPTION FOR %I FROM %I;', r.rolname, m.rolname) AS change,
       format('GRANT %I TO %I WITH ADMIN OPTION;', r.rolname, m.rolname) AS undo
FROM pg_catalog.pg_auth_members AS a
JOIN pg_catalog.pg_roles AS m ON m.oid = a.member
JOIN pg_catalog.pg_roles AS r ON r.oid = a.roleid
WHERE a.admin_option AND NOT m.rolsuper ORDER BY 1;
