-- purpose: with whose rights rows get into a table: its owner, what that role is or can become, and what it may do to the table
-- params: oid bigint
-- columns: owner text; is_powerful bool (it is or can become superuser, or another role with rights beyond tables); can_insert bool;
--   can_update bool; can_select bool; can_stage bool (make temporary tables, enter the schema); has_policies bool (row-level security is
--   on); is_forced bool (for the owner, too)
-- privilege: none
-- source: PostgreSQL 17, pg_auth_members, "Predefined Roles", "Row Security Policies"
WITH RECURSIVE held (oid) AS (
    SELECT c.relowner FROM pg_catalog.pg_class AS c WHERE c.oid = :oid::oid
    UNION
    SELECT m.roleid FROM held AS h JOIN pg_catalog.pg_auth_members AS m ON m.member = h.oid
)
SELECT pg_catalog.pg_get_userbyid(c.relowner)::text AS owner,
       EXISTS (SELECT FROM held AS h
               JOIN pg_catalog.pg_roles AS r ON r.oid = h.oid
               WHERE r.rolsuper OR r.rolcreaterole OR r.rolreplication OR r.rolcreatedb OR r.rolbypassrls OR r.oid < 16384) AS is_powerful,
       pg_catalog.has_table_privilege(c.relowner, c.oid, 'INSERT') AS can_insert,
       pg_catalog.has_table_privilege(c.relowner, c.oid, 'UPDATE') AS can_update,
       pg_catalog.has_table_privilege(c.relowner, c.oid, 'SELECT') AS can_select,
       pg_catalog.has_database_privilege(c.relowner, pg_catalog.current_database(), 'TEMPORARY')
       AND pg_catalog.has_schema_privilege(c.relowner, c.relnamespace, 'USAGE') AS can_stage,
       c.relrowsecurity AS has_policies,
       c.relforcerowsecurity AS is_forced
FROM pg_catalog.pg_class AS c
WHERE c.oid = :oid::oid;
