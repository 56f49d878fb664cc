-- purpose: indexes of other kinds than btree, each with how its first key can be asked for. A row is found by its own key through an operator that
--   holds between a value and itself: equality, sameness, containment, overlap, in that order of preference
-- columns: oid bigint; name text; title text, the name with its schema; method text; relation_oid bigint; schema text; relation text; key text, an expression over the table's columns;
--   predicate text, NULL where the index holds all rows; operator text, NULL where its operator class has none of these; is_equality bool;
--   pages_per_range int, of a BRIN index of minima and maxima, NULL for any other; is_open bool, false where a server in recovery cannot read it
-- privilege: none
-- source: PostgreSQL 17, pg_index, pg_opclass, pg_amop
SELECT i.oid::bigint AS oid,
       i.relname::text AS name,
       pg_catalog.format('%I.%I', n.nspname, i.relname) AS title,
       a.amname::text AS method,
       t.oid::bigint AS relation_oid,
       tn.nspname::text AS schema,
       t.relname::text AS relation,
       pg_catalog.pg_get_indexdef(i.oid, 1, false) AS key,
       pg_catalog.pg_get_expr(x.indpred, x.indrelid) AS predicate,
       o.operator,
       coalesce(o.place = 1, false) AS is_equality,
       CASE WHEN a.amname = 'brin' AND f.opfname LIKE '%minmax_ops' AND f.opfname NOT LIKE '%multi%'
            THEN coalesce((SELECT pg_catalog.substr(r.text, 17)::integer FROM pg_catalog.unnest(i.reloptions) AS r (text)
                           WHERE r.text LIKE 'pages\_per\_range=%'), 128) END AS pages_per_range,
       NOT (t.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery()) AND t.relispopulated AS is_open
FROM pg_catalog.pg_index AS x
JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = i.relnamespace
JOIN pg_catalog.pg_am AS a ON a.oid = i.relam
JOIN pg_catalog.pg_class AS t ON t.oid = x.indrelid
JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
JOIN pg_catalog.pg_opclass AS c ON c.oid = x.indclass[0]
JOIN pg_catalog.pg_opfamily AS f ON f.oid = c.opcfamily
LEFT JOIN LATERAL (
    SELECT pg_catalog.format('OPERATOR(%I.%s)', ns.nspname, q.oprname) AS operator,
           pg_catalog.array_position(ARRAY['=', '~=', '@>', '&&'], q.oprname::text) AS place
    FROM pg_catalog.pg_amop AS m
    JOIN pg_catalog.pg_operator AS q ON q.oid = m.amopopr
    JOIN pg_catalog.pg_namespace AS ns ON ns.oid = q.oprnamespace
    WHERE m.amopfamily = c.opcfamily AND m.amoppurpose = 's' AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype
      AND q.oprname IN ('=', '~=', '@>', '&&')
    ORDER BY 2
    LIMIT 1
) AS o ON true
WHERE i.relkind = 'i' AND a.amname <> 'btree' AND x.indisvalid AND i.relpersistence <> 't'
ORDER BY 3;
