-- purpose: where a role still has something: databases with objects that it owns or rights that it was granted, and whose member it is
-- params: role text
-- columns: database text (null: nothing there); owner text (the role that a superuser made it a member of; null: none); owns bool
-- privilege: none
-- source: PostgreSQL 17, pg_shdepend, pg_auth_members
SELECT d.datname::text AS database,
       (SELECT g.rolname::text FROM pg_catalog.pg_auth_members AS m JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid
        LEFT JOIN pg_catalog.pg_roles AS b ON b.oid = m.grantor
        WHERE m.member = r.oid ORDER BY coalesce(b.rolsuper, false) DESC, m.roleid LIMIT 1) AS owner,
       pg_catalog.bool_or(coalesce(s.deptype = 'o', false)) AS owns
FROM pg_catalog.pg_roles AS r
LEFT JOIN pg_catalog.pg_shdepend AS s ON s.refclassid = 'pg_catalog.pg_authid'::regclass AND s.refobjid = r.oid
LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.dbid OR (s.dbid = 0 AND d.datname = pg_catalog.current_database())
WHERE r.rolname = :'role'
GROUP BY r.oid, d.datname
ORDER BY d.datname;
