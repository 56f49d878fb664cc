-- purpose: the role that reads tables, when this cluster has it as it should be: it may log in, sees all rows, and cannot become more
-- params: $1 its name
-- columns: name text
-- privilege: none
-- source: PostgreSQL 17, pg_roles
SELECT r.rolname AS name
FROM pg_catalog.pg_roles AS r
WHERE r.rolname = $1 AND r.rolcanlogin AND r.rolbypassrls AND NOT r.rolsuper AND NOT r.rolcreaterole AND NOT r.rolreplication;
