-- purpose: of the names that a statement takes from pg_catalog, what is on no list of what a check may call; and what lesser roles own in pg_catalog
-- params: $1 functions text[]; $2 names after a dot text[]; $3 operators text[]; $4 functions that are allowed by name text[]; $5 extensions text[]
-- columns: what text; why text
-- privilege: none
-- source: PostgreSQL 17, pg_proc. Allowed are immutable and stable functions that initdb made, without those that run a query or make a value
--   of a type that is given as text (the family of query_to_xml, ts_stat, ts_rewrite, pg_input_is_valid, input functions, validators), or of one that a row brings along (json_populate_record)
SELECT format('pg_catalog.%s', pg_catalog.regprocedureout(p.oid)) AS what,
       CASE WHEN p.oid >= 16384 THEN 'initdb did not make it'
            WHEN p.proname = ANY ($1::text[]) THEN 'it is on no list of what a check may call'
            ELSE 'a name after a dot may be a call of it, and it is on no list of what a check may call' END AS why
FROM pg_catalog.pg_proc AS p
WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND (p.proname = ANY ($1::text[])
       -- What stands before the dot is the only argument.
       OR p.proname = ANY ($2::text[]) AND p.pronargs - p.pronargdefaults <= 1
          AND NOT ('pg_catalog.cstring'::pg_catalog.regtype = ANY (p.proargtypes) OR 'pg_catalog.internal'::pg_catalog.regtype = ANY (p.proargtypes)))
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
                  WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e'
                    AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND e.extname = ANY ($5::text[]))
  AND (p.oid >= 16384
       OR p.provolatile = 'v' AND p.proname <> ALL ($4::text[])
       OR p.proname ~ '_to_xml' OR p.proname ~ '_validator$' OR p.proname ~ '^pg_input_' OR p.proname ~ '^jsonb?_populate_record'
       OR p.proname IN ('ts_stat', 'ts_rewrite', 'txid_current', 'pg_current_xact_id')
       OR 'pg_catalog.cstring'::pg_catalog.regtype = ANY (p.proargtypes) OR 'pg_catalog.internal'::pg_catalog.regtype = ANY (p.proargtypes))
UNION ALL
SELECT format('operator pg_catalog.%s', pg_catalog.regoperatorout(o.oid)), 'initdb did not make it'
FROM pg_catalog.pg_operator AS o
WHERE o.oprnamespace = 'pg_catalog'::pg_catalog.regnamespace AND o.oid >= 16384 AND o.oprname = ANY ($3::text[])
UNION ALL
SELECT format('%s pg_catalog.%I', i.kind, i.name), format('role %I owns it, which is no superuser', r.rolname)
FROM (
  SELECT 'function' AS kind, proname AS name, proowner AS owner FROM pg_catalog.pg_proc
  WHERE pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND oid >= 16384
  UNION ALL
  SELECT 'operator', oprname, oprowner FROM pg_catalog.pg_operator WHERE oprnamespace = 'pg_catalog'::pg_catalog.regnamespace AND oid >= 16384
  UNION ALL
  SELECT 'type', typname, typowner FROM pg_catalog.pg_type WHERE typnamespace = 'pg_catalog'::pg_catalog.regnamespace AND oid >= 16384
  UNION ALL
  SELECT 'relation', relname, relowner FROM pg_catalog.pg_class WHERE relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND oid >= 16384
) AS i
JOIN pg_catalog.pg_roles AS r ON r.oid = i.owner
WHERE NOT r.rolsuper
ORDER BY 1;
