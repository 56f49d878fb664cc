-- purpose: every replication slot can still be served
-- scope: cluster
-- unit: slots
-- rank: 2
-- any: critical
-- why: WAL that its reader needs is gone or about to go: the standby or subscription must be built anew
-- next: build the reader anew, then drop the slot; raise max_slot_wal_keep_size
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, pg_replication_slots.wal_status
SELECT format('slot %I', slot_name) AS object, 1::float8 AS value, format('wal_status %s', wal_status) AS note,
       CASE WHEN wal_status = 'lost' AND NOT active THEN format('SELECT pg_catalog.pg_drop_replication_slot(%L);', slot_name) END AS change,
       NULL::text AS undo
FROM pg_catalog.pg_replication_slots
WHERE wal_status IN ('unreserved', 'lost')
ORDER BY 1;
