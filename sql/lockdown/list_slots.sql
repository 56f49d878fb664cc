-- purpose: replication slots: a restored cluster has none of them
-- columns: name text; kind text; database text; plugin text; active bool; restart_lsn text
-- privilege: CONNECT
-- source: PostgreSQL 17, pg_replication_slots
SELECT s.slot_name::text AS name,
       s.slot_type AS kind,
       s.database::text AS database,
       s.plugin::text AS plugin,
       s.active,
       s.restart_lsn::text AS restart_lsn
FROM pg_catalog.pg_replication_slots AS s
ORDER BY 1;
