-- purpose: how large each database is
-- scope: cluster
-- columns: item text; size text; bytes text
-- privilege: CONNECT on the database, or pg_read_all_stats
-- source: PostgreSQL 17, pg_database_size
SELECT format('%I', datname) AS item, pg_catalog.pg_size_pretty(pg_catalog.pg_database_size(oid)) AS size,
       pg_catalog.pg_database_size(oid)::text AS bytes
FROM pg_catalog.pg_database WHERE datallowconn ORDER BY pg_catalog.pg_database_size(oid) DESC;
