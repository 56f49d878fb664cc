-- purpose: no partition is detached by half
-- scope: database
-- unit: partitions
-- rank: 5
-- needs: pg_read_all_stats
-- any: warning
-- why: no query of the whole table sees its rows any more, and no other partition can be detached until it has ended
-- next: end it with FINALIZE; or finalize and attach it again, when it was not to go
-- columns: object text; value float8; note text; change text; undo text, a CHECK constraint that repeats its bounds stays on the partition
-- source: PostgreSQL 17, pg_inherits.inhdetachpending: DETACH PARTITION … CONCURRENTLY was cut short. One that still waits holds no lock
--   of the table, and is known by its statement alone
SELECT format('%I.%I', n.nspname, c.relname) AS object, 1::float8 AS value,
       format('of %s; DETACH CONCURRENTLY was cut short', h.inhparent::regclass) AS note,
       format('ALTER TABLE %s DETACH PARTITION %I.%I FINALIZE;', h.inhparent::regclass, n.nspname, c.relname) AS change,
       format('ALTER TABLE %s ATTACH PARTITION %I.%I %s;', h.inhparent::regclass, n.nspname, c.relname,
              pg_catalog.pg_get_expr(c.relpartbound, c.oid)) AS undo
FROM pg_catalog.pg_inherits AS h
JOIN pg_catalog.pg_class AS c ON c.oid = h.inhrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE h.inhdetachpending
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity AS a
                  WHERE a.datname = pg_catalog.current_database() AND a.state = 'active' AND a.query ~* '^\s*alter\s+table\M.*\mdetach\s+partition\M')
ORDER BY 1;
