-- purpose: who is a member of which role, by whom, with the admin, inherit and set options
-- scope: cluster
-- columns: item text; the others are facts
-- source: PostgreSQL 17, pg_auth_members
SELECT format('%I in %I by %s', m.rolname, r.rolname, coalesce(pg_catalog.quote_ident(g.rolname), 'nobody')) AS item,
       a.admin_option::text AS admin, a.inherit_option::text AS inherit, a.set_option::text AS set
FROM pg_catalog.pg_auth_members AS a
JOIN pg_catalog.pg_roles AS m ON m.oid = a.member
JOIN pg_catalog.pg_roles AS r ON r.oid = a.roleid
LEFT JOIN pg_catalog.pg_roles AS g ON g.oid = a.grantor
ORDER BY 1;
