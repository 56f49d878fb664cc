-- purpose: every table and view with its owner and its row-level security
-- scope: database
-- columns: item text; the others are facts
-- source: PostgreSQL 17, pg_class
SELECT format('%I.%I', n.nspname, c.relname) AS item,
       CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
            ELSE 'foreign table' END AS kind,
       coalesce(pg_catalog.quote_ident(r.rolname), 'nobody') AS owner,
       CASE WHEN c.relkind IN ('v', 'm') THEN '' WHEN NOT c.relrowsecurity THEN 'off' WHEN c.relforcerowsecurity THEN 'forced' ELSE 'on' END
         AS row_security,
       CASE WHEN c.relkind = 'v' THEN EXISTS (SELECT FROM pg_catalog.pg_options_to_table(c.reloptions) AS w
                                             WHERE w.option_name = 'security_invoker' AND w.option_value::boolean)::text ELSE '' END
         AS security_invoker
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = c.relowner
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                  WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1;
