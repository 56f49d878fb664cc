-- purpose: every database with its owner, encoding and limits
-- scope: cluster
-- columns: item text; the others are facts
-- source: PostgreSQL 17, pg_database
SELECT format('%I', d.datname) AS item, coalesce(pg_catalog.quote_ident(r.rolname), 'nobody') AS owner, pg_catalog.pg_encoding_to_char(d.encoding) AS encoding,
       d.datcollate::text AS collation, d.datallowconn::text AS connections_allowed, d.datconnlimit::text AS connection_limit,
       d.datistemplate::text AS template
FROM pg_catalog.pg_database AS d LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = d.datdba
ORDER BY 1;
