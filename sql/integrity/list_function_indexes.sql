-- purpose: indexes of this database whose expression or predicate calls a function that somebody wrote in SQL, PL/pgSQL or the like: declared
--   IMMUTABLE, it may still answer by settings (TimeZone, default_text_search_config), so that an index that was built under others lacks its rows
-- columns: oid bigint; title text; function text, one of those functions
-- privilege: none
-- source: PostgreSQL 17, pg_index, pg_depend; FirstNormalObjectId (transam.h)
SELECT DISTINCT ON (x.indexrelid)
       x.indexrelid::bigint AS oid,
       pg_catalog.format('%s.%s', xn.nspname, i.relname) AS title,
       pg_catalog.format('%I.%I', n.nspname, p.proname) AS function
FROM pg_catalog.pg_index AS x
JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_namespace AS xn ON xn.oid = i.relnamespace
JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = x.indexrelid
LEFT JOIN pg_catalog.pg_operator AS o ON d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid = d.refobjid
JOIN pg_catalog.pg_proc AS p
  ON p.oid = CASE WHEN d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass THEN d.refobjid ELSE o.oprcode::oid END
JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang AND l.lanname NOT IN ('internal', 'c')
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE i.relkind = 'i' AND (x.indexprs IS NOT NULL OR x.indpred IS NOT NULL) AND p.oid >= 16384
ORDER BY x.indexrelid, 3;
