-- purpose: no user mapping lends one account to everybody, or goes without a password
-- scope: database
-- unit: of 2
-- rank: 3
-- threshold: mapped_password_warning = 1 | judgement: a password in clear in the catalog, and in every dump that a superuser makes
-- threshold: mapped_password_critical = 2 | PostgreSQL 17, postgres_fdw: password_required
-- warning: mapped_password_warning
-- critical: mapped_password_critical
-- why: 1 superusers, the server's owner and dumps see the password, 2 everybody uses it, or a role that is no superuser uses the server's own files and trust
-- next: map each role to an account of its own; keep the password in a file that only the server reads (passfile of a service), or use certificates
-- columns: object text; value float8; note text
-- privilege: SELECT on pg_user_mapping, which only superusers have by default
-- source: PostgreSQL 17, pg_user_mapping; no value is read but that of password_required
SELECT format('mapping of %s on server %I', CASE m.umuser WHEN 0 THEN 'PUBLIC' ELSE format('%I', coalesce(r.rolname::text, m.umuser::text)) END, s.srvname) AS object,
       (CASE WHEN o.unwanted AND NOT coalesce(r.rolsuper, false) THEN 2 WHEN o.has_password AND m.umuser = 0 THEN 2 WHEN o.has_password THEN 1 ELSE 0 END)::float8 AS value,
       concat_ws(', ', CASE WHEN o.has_password THEN 'it holds a password' END, CASE WHEN o.unwanted THEN 'password_required is off' END) AS note
FROM pg_catalog.pg_user_mapping AS m
JOIN pg_catalog.pg_foreign_server AS s ON s.oid = m.umserver
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = m.umuser
CROSS JOIN LATERAL (
  SELECT coalesce(bool_or(option_name ~* 'passw|secret|token|key'  AND option_name <> 'password_required' AND option_value <> ''), false) AS has_password,
         coalesce(bool_or(option_name = 'password_required' AND option_value IN ('false', 'off', 'no', '0', 'f', 'n')), false) AS unwanted
  FROM pg_catalog.pg_options_to_table(m.umoptions)
) AS o
ORDER BY 2 DESC, 1;
