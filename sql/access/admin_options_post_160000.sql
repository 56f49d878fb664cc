-- purpose: nobody beside superusers hands on memberships
-- scope: cluster
-- unit: memberships
-- rank: 3
-- any: warning
-- why: who has the admin option decides alone who else gets the role
-- next: revoke the admin option, first from those to whom it was handed on, or have it excepted
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, pg_auth_members.admin_option, REVOKE: a grant by another role is revoked in that role's name only
SELECT format('%I in %I', m.rolname, r.rolname) AS object, 1::float8 AS value,
       'WITH ADMIN OPTION, by ' || string_agg(pg_catalog.quote_ident(g.rolname), ', ' ORDER BY g.rolname) AS note,
       string_agg(format('REVOKE ADMIN OPTION FOR %I FROM %I GRANTED BY %I;', r.rolname, m.rolname, g.rolname), E'\n' ORDER BY g.rolname) AS change,
       string_agg(format('GRANT %I TO %I WITH ADMIN TRUE, INHERIT %s, SET %s GRANTED BY %I;', r.rolname, m.rolname, a.inherit_option::text,
                         a.set_option::text, g.rolname), E'\n' ORDER BY g.rolname) AS undo
FROM pg_catalog.pg_auth_members AS a
JOIN pg_catalog.pg_roles AS m ON m.oid = a.member
JOIN pg_catalog.pg_roles AS r ON r.oid = a.roleid
JOIN pg_catalog.pg_roles AS g ON g.oid = a.grantor
WHERE a.admin_option AND NOT m.rolsuper GROUP BY m.rolname, r.rolname ORDER BY 1;
