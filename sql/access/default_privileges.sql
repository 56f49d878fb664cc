-- purpose: what will be made later is not open to everybody
-- scope: database
-- unit: privileges
-- rank: 3
-- any: warning
-- why: each new table, sequence or function is open before anybody has thought of it
-- next: ALTER DEFAULT PRIVILEGES … REVOKE, and grant on each object what it needs
-- columns: object text; value float8, privileges; note text; change text; undo text
-- source: PostgreSQL 17, pg_default_acl; without an entry PostgreSQL still lets PUBLIC call new functions
WITH held AS (
  SELECT d.defaclobjtype, o.rolname AS maker, n.nspname, e.grantee, e.privilege_type,
         CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'ROUTINES' WHEN 'T' THEN 'TYPES' ELSE 'SCHEMAS' END AS what
  FROM pg_catalog.pg_default_acl AS d
  CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) AS e
  JOIN pg_catalog.pg_roles AS o ON o.oid = d.defaclrole
  LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = d.defaclnamespace
  LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = e.grantee
  WHERE e.grantee = 0 OR r.rolname = 'anon'
)
SELECT format('%s made by %I in %s to %s', what, maker, coalesce('schema ' || pg_catalog.quote_ident(nspname), 'any schema'), who) AS object,
       count(*)::float8 AS value, string_agg(privilege_type, ', ' ORDER BY privilege_type) AS note,
       format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s REVOKE %s ON %s FROM %s;', maker, coalesce(' IN SCHEMA ' || pg_catalog.quote_ident(nspname), ''),
              string_agg(privilege_type, ', ' ORDER BY privilege_type), what, who) AS change,
       format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s GRANT %s ON %s TO %s;', maker, coalesce(' IN SCHEMA ' || pg_catalog.quote_ident(nspname), ''),
              string_agg(privilege_type, ', ' ORDER BY privilege_type), what, who) AS undo
FROM held CROSS JOIN LATERAL (SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE 'anon' END AS who) AS w
GROUP BY what, maker, nspname, who ORDER BY 1;
