-- purpose: policies hold for the owners of tables that can log in
-- scope: database
-- unit: tables
-- rank: 5
-- any: warning
-- why: without FORCE ROW LEVEL SECURITY the policies of a table do not hold for its owner, nor for the owner's members
-- next: FORCE ROW LEVEL SECURITY, or give the table to a role that nobody logs in as
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, 5.9 row security policies; superusers and BYPASSRLS are told by their own checks
SELECT format('%I.%I', n.nspname, c.relname) AS object, 1::float8 AS value, format('owned by %I, which can log in', o.rolname) AS note,
       format('ALTER TABLE %I.%I FORCE ROW LEVEL SECURITY;', n.nspname, c.relname) AS change,
       format('ALTER TABLE %I.%I NO FORCE ROW LEVEL SECURITY;', n.nspname, c.relname) AS undo
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles AS o ON o.oid = c.relowner
WHERE c.relkind IN ('r', 'p') AND c.relrowsecurity AND NOT c.relforcerowsecurity AND o.rolcanlogin AND NOT o.rolsuper AND NOT o.rolbypassrls
ORDER BY 1;
