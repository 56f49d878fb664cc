-- purpose: foreign servers, and who is mapped to an account there; a value that may be a secret is not kept
-- scope: database
-- columns: item text; the others are facts
-- source: PostgreSQL 17, pg_foreign_server, pg_user_mappings
SELECT format('server %I', s.srvname) AS item, coalesce(pg_catalog.quote_ident(r.rolname), 'nobody') AS owner, format('%I', w.fdwname) AS wrapper,
       coalesce((SELECT string_agg(CASE WHEN o.option_name ~* '(secret|passw|token|key|jwt|credential|conninfo|user)' THEN o.option_name || ' (not kept)'
                                        ELSE o.option_name || '=' || o.option_value END, ', ' ORDER BY o.option_name)
                 FROM pg_catalog.pg_options_to_table(s.srvoptions) AS o), '') AS options
FROM pg_catalog.pg_foreign_server AS s
JOIN pg_catalog.pg_foreign_data_wrapper AS w ON w.oid = s.srvfdw
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.srvowner
UNION ALL
SELECT format('mapping of %s on server %I', CASE m.umuser WHEN 0 THEN 'PUBLIC' ELSE format('%I', m.usename) END, m.srvname), '', '', ''
FROM pg_catalog.pg_user_mappings AS m
ORDER BY 1;
