-- purpose: who owns a schema; no row when it is not here
-- params: schema text
-- columns: owner text
-- privilege: none
-- source: PostgreSQL 17, pg_namespace
SELECT pg_catalog.pg_get_userbyid(n.nspowner) AS owner FROM pg_catalog.pg_namespace AS n WHERE n.nspname = :'schema';
