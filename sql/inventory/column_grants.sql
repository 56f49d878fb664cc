-- purpose: privileges on single columns
-- scope: database
-- columns: item text; privileges text
-- source: PostgreSQL 17, pg_attribute.attacl, pg_init_privs
SELECT format('column %I.%I.%I to %s', n.nspname, c.relname, a.attname,
              CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE format('%I', coalesce(r.rolname::text, e.grantee::text)) END) AS item,
       string_agg(DISTINCT e.privilege_type || CASE WHEN e.is_grantable THEN '*' ELSE '' END, ', ') AS privileges
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL pg_catalog.aclexplode(a.attacl) AS e
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = e.grantee
WHERE a.attacl IS NOT NULL AND NOT a.attisdropped AND e.grantee <> c.relowner
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_init_privs AS i CROSS JOIN LATERAL pg_catalog.aclexplode(i.initprivs) AS x
                  WHERE i.classoid = 'pg_catalog.pg_class'::regclass AND i.objoid = a.attrelid AND i.objsubid = a.attnum
                    AND x.grantee = e.grantee AND x.privilege_type = e.privilege_type AND x.is_grantable = e.is_grantable)
GROUP BY 1 ORDER BY 1;
