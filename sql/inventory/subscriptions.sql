-- purpose: subscriptions: what comes in by logical replication; the connection string, which may hold a password, is not read
-- scope: cluster
-- columns: item text; the others are facts
-- source: PostgreSQL 15, pg_subscription
SELECT format('%I in database %I', s.subname, d.datname) AS item, coalesce(pg_catalog.quote_ident(r.rolname), 'nobody') AS owner,
       s.subenabled::text AS enabled, array_to_string(s.subpublications, ', ') AS publications
FROM pg_catalog.pg_subscription AS s
JOIN pg_catalog.pg_database AS d ON d.oid = s.subdbid
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.subowner
ORDER BY 1;
