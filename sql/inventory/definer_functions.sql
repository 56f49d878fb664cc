-- purpose: functions that run with their owner's rights
-- scope: database
-- columns: item text; the others are facts
-- source: PostgreSQL 17, pg_proc.prosecdef
SELECT format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)) AS item,
       coalesce(pg_catalog.quote_ident(r.rolname), 'nobody') AS owner, l.lanname::text AS language, coalesce(array_to_string(p.proconfig, '; '), '') AS settings,
       pg_catalog.md5(p.prosrc || coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), '')) AS body_md5
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = p.proowner
WHERE p.prosecdef AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY 1;
