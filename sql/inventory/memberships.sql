-- purpose: who is a member of which role, with the admin option
-- scope: cluster
-- columns: item text; the others are facts
-- source: PostgreSQL 15, pg_auth_members
SELECT format('%I in %I', m.rolname, r.rolname) AS item, a.admin_option::text AS admin, m.rolinherit::text AS inherit
FROM pg_catalog.pg_auth_members AS a
JOIN pg_catalog.pg_roles AS m ON m.oid = a.member
JOIN pg_catalog.pg_roles AS r ON r.oid = a.roleid
ORDER BY 1;
