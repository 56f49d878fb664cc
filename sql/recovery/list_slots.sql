-- purpose: replication slots; a base backup does not hold them
-- columns: name text; value text
-- privilege: none
-- source: PostgreSQL 17, pg_replication_slots
SELECT slot_name::text AS name,
       pg_catalog.concat_ws(' ', slot_type, plugin, database, CASE WHEN active THEN 'in use' ELSE 'unused' END) AS value
FROM pg_catalog.pg_replication_slots
WHERE NOT temporary
ORDER BY 1;
