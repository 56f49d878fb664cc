-- purpose: btree indexes whose entries are computed by functions (expressions, predicates): checking their rows runs those functions
-- columns: oid bigint; title text, as pg_amcheck names the index
-- privilege: none
-- source: PostgreSQL 17, pg_index
SELECT i.oid::bigint AS oid, pg_catalog.concat_ws('.', pg_catalog.current_database(), n.nspname, i.relname) AS title
FROM pg_catalog.pg_index AS x
JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = i.relnamespace
JOIN pg_catalog.pg_am AS a ON a.oid = i.relam
WHERE a.amname = 'btree' AND (x.indexprs IS NOT NULL OR x.indpred IS NOT NULL);
