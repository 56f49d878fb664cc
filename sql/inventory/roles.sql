-- purpose: every role with its attributes
-- scope: cluster
-- columns: item text; the others are facts
-- source: PostgreSQL 17, pg_roles
SELECT format('%I', rolname) AS item, rolcanlogin::text AS login, rolsuper::text AS superuser, rolcreaterole::text AS createrole,
       rolcreatedb::text AS createdb, rolreplication::text AS replication, rolbypassrls::text AS bypassrls, rolinherit::text AS inherit,
       rolconnlimit::text AS connection_limit, coalesce(rolvaliduntil::text, 'never ends') AS valid_until
FROM pg_catalog.pg_roles ORDER BY 1;
