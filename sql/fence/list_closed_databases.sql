-- purpose: databases that nobody can look into: connections are not allowed, or DROP DATABASE was interrupted (limit -2)
-- columns: name text; why text
-- privilege: CONNECT
-- source: PostgreSQL 17, pg_database
SELECT d.datname AS name,
       CASE WHEN d.datconnlimit = -2 THEN 'half dropped' ELSE 'accepts no connections' END AS why
FROM pg_catalog.pg_database AS d
WHERE d.datname <> 'template0' AND (NOT d.datallowconn OR d.datconnlimit = -2)
ORDER BY d.datname;
