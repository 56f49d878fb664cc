-- purpose: privileges on databases, tablespaces and parameters, for each that holds them; a star means that they may be handed on
-- scope: cluster
-- columns: item text; privileges text
-- source: PostgreSQL 17, pg_database, pg_tablespace, pg_parameter_acl
WITH objects AS (
  SELECT format('database %I', datname) AS name, datdba AS owner,
         coalesce(datacl, pg_catalog.acldefault('d', datdba)) AS acl FROM pg_catalog.pg_database
  UNION ALL
  SELECT format('tablespace %I', spcname), spcowner, coalesce(spcacl, pg_catalog.acldefault('t', spcowner)) FROM pg_catalog.pg_tablespace
  UNION ALL
  SELECT format('parameter %I', parname), 10::oid, paracl FROM pg_catalog.pg_parameter_acl
)
SELECT format('%s to %s', o.name, CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE format('%I', coalesce(r.rolname::text, e.grantee::text)) END) AS item,
       string_agg(DISTINCT e.privilege_type || CASE WHEN e.is_grantable THEN '*' ELSE '' END, ', ') AS privileges
FROM objects AS o CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) AS e
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = e.grantee
WHERE e.grantee <> o.owner
GROUP BY 1 ORDER BY 1;
