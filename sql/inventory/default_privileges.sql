-- purpose: privileges that objects will have that are made later; what their maker holds stands for the entry itself, which may take PUBLIC away
-- scope: database
-- columns: item text; privileges text
-- source: PostgreSQL 17, pg_default_acl
SELECT format('%s made by %I in %s to %s',
              CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types'
                   WHEN 'n' THEN 'schemas' WHEN 'L' THEN 'large objects' ELSE d.defaclobjtype::text END,
              o.rolname, coalesce('schema ' || pg_catalog.quote_ident(n.nspname), 'any schema'),
              CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE format('%I', coalesce(r.rolname::text, e.grantee::text)) END) AS item,
       string_agg(DISTINCT e.privilege_type || CASE WHEN e.is_grantable THEN '*' ELSE '' END, ', ') AS privileges
FROM pg_catalog.pg_default_acl AS d
CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) AS e
JOIN pg_catalog.pg_roles AS o ON o.oid = d.defaclrole
LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = d.defaclnamespace
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = e.grantee
GROUP BY 1 ORDER BY 1;
