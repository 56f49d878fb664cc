-- purpose: every schema with its owner
-- scope: database
-- columns: item text; owner text
-- source: PostgreSQL 17, pg_namespace
SELECT format('%I', n.nspname) AS item, coalesce(pg_catalog.quote_ident(r.rolname), 'nobody') AS owner
FROM pg_catalog.pg_namespace AS n LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = n.nspowner
WHERE n.nspname !~ '^pg_(toast|temp_|toast_temp_)' ORDER BY 1;
