-- purpose: every constraint is validated
-- expect: rows = 0
-- unit: constraints
-- about: catalogs
-- severity: warning
-- why: a NOT VALID constraint promises nothing about the rows that were there before it
-- next: ALTER TABLE … VALIDATE CONSTRAINT … in production
-- columns: relation text; constraint_name text
-- source: PostgreSQL 17, pg_constraint
SELECT format('%I.%I', n.nspname, c.relname) AS relation, k.conname AS constraint_name
FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT k.convalidated
ORDER BY 1, 2;
