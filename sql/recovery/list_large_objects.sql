-- purpose: the large objects of this database, with where their rows of pg_largeobject_metadata are
-- columns: oid bigint; number bigint (of the file); place text (ctid); owner text; acl text (null: as PostgreSQL gives it);
--   comment text (null: none)
-- privilege: none
-- source: PostgreSQL 17, pg_largeobject_metadata
SELECT m.oid::bigint AS oid,
       pg_catalog.pg_relation_filenode(m.tableoid)::bigint AS number,
       m.ctid::text AS place,
       r.rolname AS owner,
       m.lomacl::text AS acl,
       pg_catalog.obj_description(m.oid, 'pg_largeobject') AS comment
FROM pg_catalog.pg_largeobject_metadata AS m
JOIN pg_catalog.pg_roles AS r ON r.oid = m.lomowner
ORDER BY m.oid;
