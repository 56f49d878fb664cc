-- purpose: the largest tables of this database with all that belongs to them, for the report's plot
-- params: most int
-- columns: relation text; size_bytes bigint (bytes)
--   A table that somebody holds exclusively is left out: asking for its size would wait for the lock.
-- source: PostgreSQL 17, pg_total_relation_size
SELECT format('%I.%I', n.nspname, c.relname) AS relation, pg_catalog.pg_total_relation_size(c.oid) AS size_bytes
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks AS l
                  WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.granted
                    AND l.relation = c.oid
                    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()))
ORDER BY size_bytes DESC
LIMIT :most::int;
