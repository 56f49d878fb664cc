-- purpose: what will be made later is not open to everybody
-- scope: database
-- unit: privileges
-- rank: 3
-- any: warning
-- why: each new table, sequence or function is open before anybody has thought of it
-- next: ALTER DEFAULT PRIVILEGES … REVOKE, and grant on each object what it needs
-- columns: object text; value float8, privileges; note text; change text; undo text
-- source: PostgreSQL 17, pg_default_acl; without an entry PostgreSQL still lets PUBLIC call new functions; memberships of anon count
WITH everybody AS (
  SELECT g.oid, g.rolname FROM pg_catalog.pg_roles AS g JOIN pg_catalog.pg_roles AS v ON v.rolname = 'anon' AND NOT v.rolsuper
   AND pg_catalog.pg_has_role(v.oid, g.oid, CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'USAGE,SET' ELSE 'MEMBER' END)
), held AS (
  SELECT o.rolname AS maker, n.nspname, e.privilege_type, CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(r.rolname) END AS who,
         CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'ROUTINES' WHEN 'T' THEN 'TYPES' WHEN 'L' THEN 'LARGE OBJECTS'
              ELSE 'SCHEMAS' END AS what
  FROM pg_catalog.pg_default_acl AS d
  CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) AS e
  JOIN pg_catalog.pg_roles AS o ON o.oid = d.defaclrole
  LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = d.defaclnamespace
  LEFT JOIN everybody AS r ON r.oid = e.grantee
  WHERE (e.grantee = 0 OR r.oid IS NOT NULL) AND e.grantee <> d.defaclrole
    -- An entry for any schema takes the place of what PostgreSQL gives by itself: only what it adds to that is new.
    AND NOT (d.defaclnamespace = 0 AND d.defaclobjtype IN ('f', 'T') AND e.grantee = 0 AND NOT e.is_grantable)
)
SELECT format('%s made by %I in %s to %s', what, maker, coalesce('schema ' || pg_catalog.quote_ident(nspname), 'any schema'), who) AS object,
       count(*)::float8 AS value, string_agg(privilege_type, ', ' ORDER BY privilege_type) AS note,
       format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s REVOKE %s ON %s FROM %s;', maker, coalesce(' IN SCHEMA ' || pg_catalog.quote_ident(nspname), ''),
              string_agg(privilege_type, ', ' ORDER BY privilege_type), what, who) AS change,
       format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s GRANT %s ON %s TO %s;', maker, coalesce(' IN SCHEMA ' || pg_catalog.quote_ident(nspname), ''),
              string_agg(privilege_type, ', ' ORDER BY privilege_type), what, who) AS undo
FROM held GROUP BY what, maker, nspname, who ORDER BY 1;
