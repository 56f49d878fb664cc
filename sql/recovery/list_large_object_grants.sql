-- purpose: who may do what with a large object, as granted
-- params: oid bigint
-- columns: grantee text (null: everybody); privilege text; with_grant bool
-- privilege: none
-- source: PostgreSQL 17, pg_largeobject_metadata, aclexplode
SELECT r.rolname AS grantee, g.privilege_type AS privilege, g.is_grantable AS with_grant
FROM pg_catalog.pg_largeobject_metadata AS m
CROSS JOIN LATERAL pg_catalog.aclexplode(m.lomacl) AS g
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = g.grantee
WHERE m.oid = :oid::oid
ORDER BY 1, 2;
