-- purpose: what keeps two rows of a table from being alike: primary key, unique indexes, exclusion constraints, with the expressions they
--   compare and the operators they compare them by
-- params: oid bigint
-- columns: name text; is_primary bool; is_deferrable bool; is_exclusion bool; nulls_equal bool; predicate text (null: all rows);
--   expressions text[]; operators text[]; columns text[] (that expressions and predicate read)
-- privilege: none
-- source: PostgreSQL 17, pg_index, pg_constraint, pg_amop, pg_depend
SELECT r.relname AS name,
       i.indisprimary AS is_primary,
       NOT i.indimmediate AS is_deferrable,
       i.indisexclusion AS is_exclusion,
       coalesce((pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false) AS nulls_equal,
       pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS predicate,
       parts.expressions,
       parts.operators,
       ARRAY(
           SELECT a.attname::text
           FROM pg_catalog.pg_attribute AS a
           WHERE a.attrelid = i.indrelid
             AND a.attnum > 0
             AND (a.attnum = ANY (i.indkey::int2[])
                  OR EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                             WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = i.indexrelid
                               AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))
           ORDER BY a.attnum
       ) AS columns
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS r ON r.oid = i.indexrelid
LEFT JOIN pg_catalog.pg_constraint AS x ON x.conindid = i.indexrelid AND x.contype = 'x' AND x.conrelid = i.indrelid
CROSS JOIN LATERAL (
    SELECT pg_catalog.array_agg(pg_catalog.pg_get_indexdef(i.indexrelid, p.position, true) ORDER BY p.position) AS expressions,
           pg_catalog.array_agg(pg_catalog.format('OPERATOR(%I.%s)', s.nspname, o.oprname) ORDER BY p.position) AS operators
    FROM pg_catalog.generate_series(1, i.indnkeyatts) AS p (position)
    JOIN pg_catalog.pg_opclass AS c ON c.oid = i.indclass[p.position - 1]
    LEFT JOIN pg_catalog.pg_amop AS e
        ON x.oid IS NULL AND e.amopfamily = c.opcfamily AND e.amopstrategy = 3
       AND e.amoplefttype = c.opcintype AND e.amoprighttype = c.opcintype
    JOIN pg_catalog.pg_operator AS o ON o.oid = coalesce(x.conexclop[p.position], e.amopopr)
    JOIN pg_catalog.pg_namespace AS s ON s.oid = o.oprnamespace
) AS parts
WHERE i.indrelid = :oid::oid AND (i.indisunique OR i.indisexclusion) AND i.indisvalid
ORDER BY i.indisprimary DESC, i.indisreplident DESC, i.indexrelid;
