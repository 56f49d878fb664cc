-- purpose: no database is left of a DROP that was cut short
-- scope: cluster
-- unit: databases
-- rank: 6
-- any: warning
-- why: nobody can enter it, its files stay, and its name is taken
-- next: drop it; nothing of it can be saved but from a backup
-- columns: object text; value float8; note text; change text; undo text, none
-- source: PostgreSQL 17 and 15.4, pg_database.datconnlimit: -2 is an invalid database
SELECT format('database %I', datname) AS object, 1::float8 AS value, 'DROP DATABASE was cut short' AS note,
       format('DROP DATABASE %I;', datname) AS change, NULL::text AS undo
FROM pg_catalog.pg_database
WHERE datconnlimit = -2
ORDER BY 1;
