-- purpose: settings that belong to a role or a database; a value that may be a secret is not kept
-- scope: cluster
-- columns: item text; value text
-- source: PostgreSQL 17, pg_db_role_setting
SELECT format('%s of role %s in database %s', split_part(c.one, '=', 1),
              CASE s.setrole WHEN 0 THEN 'any' ELSE format('%I', coalesce(r.rolname::text, s.setrole::text)) END,
              CASE s.setdatabase WHEN 0 THEN 'any' ELSE format('%I', coalesce(d.datname::text, s.setdatabase::text)) END) AS item,
       CASE WHEN split_part(c.one, '=', 1) ~* '(secret|passw|token|key|jwt|credential|conninfo)' THEN 'not kept: it may be a secret'
            ELSE substr(c.one, strpos(c.one, '=') + 1) END AS value
FROM pg_catalog.pg_db_role_setting AS s
CROSS JOIN LATERAL unnest(s.setconfig) AS c (one)
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
ORDER BY 1;
