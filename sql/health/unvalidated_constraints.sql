-- purpose: every constraint holds for the rows that were there before it
-- scope: database
-- unit: constraints
-- rank: 8
-- any: warning
-- why: NOT VALID checks new rows alone; the planner does not rely on it
-- next: mend the rows that break it, then VALIDATE
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, pg_constraint.convalidated. VALIDATE goes down to partitions and children, so that what they have inherited is
--   left out; so is what is NOT ENFORCED (18), which nobody can validate. Constraints of domains may be NOT VALID too
SELECT format('%I.%I.%I', n.nspname, t.relname, c.conname) AS object, 1::float8 AS value,
       pg_catalog.pg_get_constraintdef(c.oid) AS note,
       format('ALTER TABLE %I.%I VALIDATE CONSTRAINT %I;', n.nspname, t.relname, c.conname) AS change,
       NULL::text AS undo
FROM pg_catalog.pg_constraint AS c
JOIN pg_catalog.pg_class AS t ON t.oid = c.conrelid AND t.relpersistence <> 't'
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
WHERE NOT c.convalidated AND c.contype IN ('c', 'f', 'n') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND coalesce(to_jsonb(c) ->> 'conenforced', 'true') = 'true' AND c.conparentid = 0
  AND NOT (c.coninhcount > 0 AND EXISTS (
    SELECT FROM pg_catalog.pg_inherits AS h JOIN pg_catalog.pg_constraint AS p ON p.conrelid = h.inhparent
    WHERE h.inhrelid = c.conrelid AND p.contype = c.contype AND NOT p.convalidated
      AND (p.conname = c.conname OR c.contype = 'n')))
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
                  WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = t.oid AND e.deptype = 'e')
UNION ALL
SELECT format('domain %I.%I.%I', n.nspname, d.typname, c.conname), 1, pg_catalog.pg_get_constraintdef(c.oid),
       format('ALTER DOMAIN %I.%I VALIDATE CONSTRAINT %I;', n.nspname, d.typname, c.conname), NULL
FROM pg_catalog.pg_constraint AS c
JOIN pg_catalog.pg_type AS d ON d.oid = c.contypid
JOIN pg_catalog.pg_namespace AS n ON n.oid = d.typnamespace
WHERE NOT c.convalidated AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY 1;
