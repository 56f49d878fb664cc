-- purpose: the extensions with their versions
-- scope: database
-- columns: item text; the others are facts
-- source: PostgreSQL 17, pg_extension
SELECT format('%I', e.extname) AS item, e.extversion AS version, format('%I', n.nspname) AS schema, coalesce(pg_catalog.quote_ident(r.rolname), 'nobody') AS owner
FROM pg_catalog.pg_extension AS e
JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = e.extowner
ORDER BY 1;
