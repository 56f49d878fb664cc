-- purpose: every role with its attributes, memberships and the digest of its stored password, to compare two clusters
-- columns: name text; attributes text; member_of text; password text (a digest of the stored verifier, never the verifier itself)
-- privilege: superuser (pg_authid)
-- source: PostgreSQL 17, pg_authid, pg_auth_members
SELECT r.rolname AS name,
       pg_catalog.concat_ws(' ',
           CASE WHEN r.rolsuper THEN 'SUPERUSER' END, CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END,
           CASE WHEN r.rolcreatedb THEN 'CREATEDB' END, CASE WHEN r.rolcanlogin THEN 'LOGIN' END,
           CASE WHEN r.rolreplication THEN 'REPLICATION' END, CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END,
           CASE WHEN r.rolvaliduntil IS NOT NULL THEN 'VALID UNTIL ' || r.rolvaliduntil::text END) AS attributes,
       coalesce((SELECT pg_catalog.string_agg(DISTINCT g.rolname::text, ', ')
                 FROM pg_catalog.pg_auth_members AS m
                 JOIN pg_catalog.pg_authid AS g ON g.oid = m.roleid WHERE m.member = r.oid), '') AS member_of,
       CASE WHEN r.rolpassword IS NULL THEN 'none'
            ELSE pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(r.rolpassword, 'UTF8')), 'hex') END AS password
FROM pg_catalog.pg_authid AS r
WHERE r.rolname !~ '^pg_'
ORDER BY r.rolname;
