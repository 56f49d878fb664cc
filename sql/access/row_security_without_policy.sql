-- purpose: every table with row-level security has a policy
-- scope: database
-- unit: tables
-- rank: 5
-- any: warning
-- why: without a policy nobody but the owner sees a row: a policy was forgotten, or the grants are not needed
-- next: write the policy, or revoke the grants
-- columns: object text; value float8; note text
-- source: PostgreSQL 17, 5.9 row security policies
SELECT format('%I.%I', n.nspname, c.relname) AS object, 1::float8 AS value, 'no policy' AS note
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relrowsecurity AND NOT EXISTS (SELECT FROM pg_catalog.pg_policy AS p WHERE p.polrelid = c.oid)
ORDER BY 1;
