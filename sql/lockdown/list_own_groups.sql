-- purpose: the roles that the session's own role is a member of, directly or not: what +group in pg_hba.conf asks
-- columns: name text
-- privilege: CONNECT
-- source: PostgreSQL 17, pg_auth_members; hba.c does not count a superuser as member of everything
WITH RECURSIVE held AS (
    SELECT m.roleid FROM pg_catalog.pg_auth_members AS m
    JOIN pg_catalog.pg_roles AS r ON r.oid = m.member WHERE r.rolname = session_user
    UNION
    SELECT m.roleid FROM pg_catalog.pg_auth_members AS m JOIN held ON held.roleid = m.member
)
SELECT r.rolname::text AS name FROM held JOIN pg_catalog.pg_roles AS r ON r.oid = held.roleid ORDER BY 1;
