-- purpose: every constraint holds for the rows that were there before it
-- scope: database
-- unit: constraints
-- rank: 8
-- any: warning
-- why: NOT VALID checks new rows alone; the planner does not rely on it
-- next: mend the rows that break it, then VALIDATE
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, pg_constraint.convalidated
SELECT format('%I.%I.%I', n.nspname, t.relname, c.conname) AS object, 1::float8 AS value,
       pg_catalog.pg_get_constraintdef(c.oid) AS note,
       format('ALTER TABLE %I.%I VALIDATE CONSTRAINT %I;', n.nspname, t.relname, c.conname) AS change,
       NULL::text AS undo
FROM pg_catalog.pg_constraint AS c
JOIN pg_catalog.pg_class AS t ON t.oid = c.conrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
WHERE NOT c.convalidated AND c.contype IN ('c', 'f', 'n') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY 1;
