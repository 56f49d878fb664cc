-- purpose: objects that name a type whose values are checked by a function that is not PostgreSQL's own: a constant of it in their definition runs that
--   function as soon as the definition is read, with the rights of whoever reads it
-- columns: class bigint; oid bigint; name text, the function
-- privilege: none
-- source: PostgreSQL 17, pg_depend; a domain's check runs when a literal of a composite type that has it is parsed
WITH RECURSIVE reached (type, root) AS (
    SELECT k.contypid, p.oid
    FROM pg_catalog.pg_proc AS p
    LEFT JOIN pg_catalog.pg_roles AS o ON o.oid = p.proowner
    JOIN pg_catalog.pg_depend AS d ON d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.refobjid = p.oid
        AND d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
    JOIN pg_catalog.pg_constraint AS k ON k.oid = d.objid AND k.contypid <> 0
    WHERE p.oid >= 16384 AND NOT (p.prolang IN (12, 13) AND p.provolatile = 'i' AND coalesce(o.rolsuper, false))
    UNION
    SELECT n.type, r.root
    FROM reached AS r
    CROSS JOIN LATERAL (
        SELECT t.oid AS type FROM pg_catalog.pg_type AS t WHERE t.typelem = r.type OR t.typbasetype = r.type
        UNION ALL
        SELECT g.rngtypid FROM pg_catalog.pg_range AS g WHERE g.rngsubtype = r.type
        UNION ALL
        SELECT c.reltype
        FROM pg_catalog.pg_attribute AS a
        JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid AND c.reltype <> 0
        WHERE a.atttypid = r.type AND a.attnum > 0 AND NOT a.attisdropped
    ) AS n
)
SELECT x.class::bigint AS class, x.oid::bigint AS oid, min(pg_catalog.format('%I.%I', n.nspname, f.proname)) AS name
FROM reached AS r
JOIN pg_catalog.pg_proc AS f ON f.oid = r.root
JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
JOIN pg_catalog.pg_depend AS d ON d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.refobjid = r.type
CROSS JOIN LATERAL (
    SELECT d.classid AS class, d.objid AS oid
    UNION ALL
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, w.ev_class
    FROM pg_catalog.pg_rewrite AS w
    WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND w.oid = d.objid
) AS x
GROUP BY x.class, x.oid;
