-- purpose: the timeline of the last checkpoint
-- columns: timeline int
-- privilege: EXECUTE on pg_control_checkpoint (pg_monitor)
-- source: PostgreSQL 17, "Control Data Functions"
SELECT timeline_id AS timeline FROM pg_catalog.pg_control_checkpoint();
