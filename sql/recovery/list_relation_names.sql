-- purpose: every relation of this database that has a file of its own, or is the parent of such ones, by the file's number
-- columns: oid bigint; schema text; name text; kind text; tablespace bigint; number bigint (null: no file);
--   estimated_rows float8 (null: never counted); owner_oid bigint (a TOAST table's or an index's table); root_oid bigint (the topmost partitioned table)
-- privilege: none
-- source: PostgreSQL 17, pg_class, pg_relation_filenode, pg_partition_root
SELECT c.oid::bigint AS oid,
       n.nspname AS schema,
       c.relname AS name,
       c.relkind::text AS kind,
       CASE WHEN c.reltablespace <> 0 THEN c.reltablespace
            ELSE (SELECT d.dattablespace FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
       END::bigint AS tablespace,
       pg_catalog.pg_relation_filenode(c.oid)::bigint AS number,
       CASE WHEN c.reltuples >= 0 THEN c.reltuples::float8 END AS estimated_rows,
       coalesce(t.oid, i.indrelid)::bigint AS owner_oid,
       r.oid::bigint AS root_oid
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_class AS t ON t.reltoastrelid = c.oid AND c.relkind = 't'
LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
LEFT JOIN pg_catalog.pg_class AS r ON c.relispartition AND r.oid = pg_catalog.pg_partition_root(c.oid)
WHERE c.relkind IN ('r', 'm', 't', 'i', 'S', 'p', 'I') AND c.relpersistence <> 't';
