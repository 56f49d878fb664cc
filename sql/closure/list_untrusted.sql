-- purpose: relations that a statement may not be planned on with rights worth having: planning folds constant calls in index expressions and
--   predicates, statistics, partition keys and checks, and what these, or the columns' types, reach includes a function that is not trusted.
--   Trusted is what only a superuser can have made, and what runs nothing else: functions of initdb that are not volatile, and immutable ones in C.
--   A function in SQL or a procedural language is not, whoever owns it: what its body names is resolved when it runs
-- columns: oid bigint; schema text; name text; reason text, the first such function
-- privilege: none
-- source: PostgreSQL 17, pg_depend; tried on 15, 17 and 18. Functions of initdb are pinned and stand in no pg_depend row
WITH RECURSIVE edges (refclassid, refobjid, classid, objid) AS MATERIALIZED (
    -- Computed once, and joined: in a session without index scans a lookup for each object that was reached would read whole catalogs.
    -- What depends on it. Triggers and rules of writing do not run when a relation is read, and a foreign key runs nothing of the
    -- other table's; stored values of generated columns and defaults are not computed again.
    SELECT d.refclassid, d.refobjid, d.classid, d.objid
    FROM pg_catalog.pg_depend AS d
    LEFT JOIN pg_catalog.pg_constraint AS k
      ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid = d.objid AND k.contype = 'f'
    LEFT JOIN (SELECT f.oid FROM pg_catalog.pg_attrdef AS f
               JOIN pg_catalog.pg_attribute AS a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
               WHERE a.attgenerated = 'v') AS v ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND v.oid = d.objid
    -- A base type is a superuser's, with the functions that read and print it.
    LEFT JOIN pg_catalog.pg_type AS t
      ON d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
     AND t.oid = d.objid AND t.typtype = 'b'
    WHERE d.deptype IN ('n', 'a', 'i', 'P', 'S')
      AND d.classid NOT IN ('pg_catalog.pg_trigger'::pg_catalog.regclass, 'pg_catalog.pg_event_trigger'::pg_catalog.regclass)
      AND k.oid IS NULL
      AND (d.classid <> 'pg_catalog.pg_attrdef'::pg_catalog.regclass OR v.oid IS NOT NULL)
      AND t.oid IS NULL
    UNION ALL
    -- What it is a part of.
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, x.indexrelid, 'pg_catalog.pg_class'::pg_catalog.regclass::oid, x.indrelid
    FROM pg_catalog.pg_index AS x
    UNION ALL
    SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass::oid, k.oid, 'pg_catalog.pg_class'::pg_catalog.regclass::oid, k.conrelid
    FROM pg_catalog.pg_constraint AS k
    WHERE k.conrelid <> 0
    UNION ALL
    SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass::oid, k.oid, 'pg_catalog.pg_type'::pg_catalog.regclass::oid, k.contypid
    FROM pg_catalog.pg_constraint AS k
    WHERE k.contypid <> 0
    UNION ALL
    SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass::oid, s.oid, 'pg_catalog.pg_class'::pg_catalog.regclass::oid, s.stxrelid
    FROM pg_catalog.pg_statistic_ext AS s
    UNION ALL
    SELECT 'pg_catalog.pg_policy'::pg_catalog.regclass::oid, p.oid, 'pg_catalog.pg_class'::pg_catalog.regclass::oid, p.polrelid
    FROM pg_catalog.pg_policy AS p
    UNION ALL
    SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass::oid, f.oid, 'pg_catalog.pg_class'::pg_catalog.regclass::oid, f.adrelid
    FROM pg_catalog.pg_attrdef AS f
    UNION ALL
    -- A materialized view is read as a table; what fills it does not run.
    SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass::oid, w.oid, 'pg_catalog.pg_class'::pg_catalog.regclass::oid, w.ev_class
    FROM pg_catalog.pg_rewrite AS w
    JOIN pg_catalog.pg_class AS v ON v.oid = w.ev_class AND v.relkind <> 'm'
    UNION ALL
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, c.oid, 'pg_catalog.pg_type'::pg_catalog.regclass::oid, c.reltype
    FROM pg_catalog.pg_class AS c
    WHERE c.reltype <> 0
    UNION ALL
    -- A type that depends on somebody's function is somebody's own.
    SELECT 'pg_catalog.pg_type'::pg_catalog.regclass::oid, a.atttypid, 'pg_catalog.pg_class'::pg_catalog.regclass::oid, a.attrelid
    FROM pg_catalog.pg_attribute AS a
    WHERE a.atttypid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped
),
reached (classid, objid, root) AS (
    SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass::oid, p.oid, p.oid
    FROM pg_catalog.pg_proc AS p
    LEFT JOIN pg_catalog.pg_roles AS o ON o.oid = p.proowner
    -- 12 and 13 are the languages internal and c of initdb; both are for superusers alone.
    WHERE p.oid >= 16384 AND NOT (p.prolang IN (12, 13) AND p.provolatile = 'i' AND coalesce(o.rolsuper, false))
    UNION
    SELECT e.classid, e.objid, r.root
    FROM reached AS r
    JOIN edges AS e ON e.refclassid = r.classid AND e.refobjid = r.objid
)
SELECT c.oid::bigint AS oid, n.nspname::text AS schema, c.relname::text AS name,
       min(pg_catalog.format('%I.%I', fn.nspname, f.proname)) AS reason
FROM reached AS r
JOIN pg_catalog.pg_class AS c ON c.oid = r.objid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_proc AS f ON f.oid = r.root
JOIN pg_catalog.pg_namespace AS fn ON fn.oid = f.pronamespace
WHERE r.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.relkind IN ('r', 'p', 'm', 'v', 'f')
GROUP BY c.oid, n.nspname, c.relname
ORDER BY 2, 3;
