-- purpose: which options each user mapping has; values are not read, but for whether a password is wanted
-- scope: database
-- columns: item text; options text
-- privilege: SELECT on pg_user_mapping, which only superusers have by default
-- source: PostgreSQL 17, pg_user_mapping
SELECT format('mapping of %s on server %I', CASE m.umuser WHEN 0 THEN 'PUBLIC' ELSE format('%I', coalesce(r.rolname::text, m.umuser::text)) END, s.srvname) AS item,
       coalesce((SELECT string_agg(CASE o.option_name WHEN 'password_required' THEN o.option_name || '=' || o.option_value ELSE o.option_name END, ', '
                                   ORDER BY o.option_name)
                 FROM pg_catalog.pg_options_to_table(m.umoptions) AS o), '') AS options
FROM pg_catalog.pg_user_mapping AS m
JOIN pg_catalog.pg_foreign_server AS s ON s.oid = m.umserver
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = m.umuser
ORDER BY 1;
