-- purpose: every policy is in force
-- scope: database
-- unit: policies
-- rank: 1
-- any: critical
-- why: a policy on a table whose row-level security is off does nothing, and looks as if it did
-- next: ENABLE ROW LEVEL SECURITY, or drop the policies
-- columns: object text; value float8, policies; note text; change text; undo text
-- source: PostgreSQL 17, 5.9 row security policies
SELECT format('%I.%I', n.nspname, c.relname) AS object, count(*)::float8 AS value,
       string_agg(format('%I', p.polname), ', ' ORDER BY p.polname) AS note,
       format('ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY;', n.nspname, c.relname) AS change,
       format('ALTER TABLE %I.%I DISABLE ROW LEVEL SECURITY;', n.nspname, c.relname) AS undo
FROM pg_catalog.pg_policy AS p
JOIN pg_catalog.pg_class AS c ON c.oid = p.polrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT c.relrowsecurity
GROUP BY n.nspname, c.relname ORDER BY 1;
