-- purpose: which large objects have their content in these places of pg_largeobject
-- params: places text[] (ctids)
-- columns: oid bigint
-- privilege: SELECT on pg_largeobject (superuser)
-- source: PostgreSQL 17, pg_largeobject
SELECT DISTINCT p.loid::bigint AS oid
FROM pg_catalog.pg_largeobject AS p
WHERE p.ctid = ANY (:places::text[]::tid[]);
