-- purpose: deletes find the rows that refer to them by an index
-- scope: database
-- unit: rows
-- rank: 7
-- threshold: foreign_key_least_rows = 10000 | judgement: a smaller table is read as fast without
-- any: warning
-- why: each DELETE or key UPDATE of the other table reads this whole table, with its rows locked against it
-- next: create the index, unless rows of the other table are never deleted and their keys never change
-- columns: object text; value float8, rows as of the last ANALYZE or VACUUM, a partitioned table's in its partitions without one; note text; change text; undo text; unmeasured text
-- source: PostgreSQL 17, 5.5.5; an index serves when its leading columns are the key's, in any order, and sort by the column's own
--   collation; of partitions each needs its own. 5.12.2.2: built on each of them concurrently, and attached. A NOT ENFORCED key (18) looks for nothing
WITH RECURSIVE key AS (
  SELECT f.oid, f.conname, f.conrelid, f.confrelid, n.nspname, t.relnamespace, t.relname, t.relkind,
         count(*) OVER same > 1 AND row_number() OVER same_first > 1 AS is_again,
         (SELECT array_agg(a.attname ORDER BY k.ord) FROM unnest(f.conkey) WITH ORDINALITY AS k(att, ord)
          JOIN pg_catalog.pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = k.att) AS names,
         (SELECT string_agg(format('%I', a.attname), ', ' ORDER BY k.ord) FROM unnest(f.conkey) WITH ORDINALITY AS k(att, ord)
          JOIN pg_catalog.pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = k.att) AS columns
  FROM pg_catalog.pg_constraint AS f
  JOIN pg_catalog.pg_class AS t ON t.oid = f.conrelid AND t.relpersistence <> 't'
  JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
  WHERE f.contype = 'f' AND f.conparentid = 0 AND coalesce(to_jsonb(f) ->> 'conenforced', 'true') = 'true'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
                    WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = t.oid AND e.deptype = 'e')
  WINDOW same AS (PARTITION BY f.conrelid, (SELECT array_agg(c ORDER BY c) FROM unnest(f.conkey) AS c)),
         same_first AS (PARTITION BY f.conrelid, (SELECT array_agg(c ORDER BY c) FROM unnest(f.conkey) AS c) ORDER BY f.oid)
), part AS (
  SELECT oid AS key, conrelid AS rel, relkind, NULL::oid AS parent, 0 AS level FROM key
  UNION ALL
  SELECT part.key, c.oid, c.relkind, part.rel, part.level + 1
  FROM part JOIN pg_catalog.pg_inherits AS h ON h.inhparent = part.rel JOIN pg_catalog.pg_class AS c ON c.oid = h.inhrelid
  WHERE part.relkind = 'p'
), bare AS (
  SELECT part.key, count(*) AS parts, sum(greatest(t.reltuples, 0)) AS rows,
         bool_or(t.reltuples < 0 AND pg_catalog.pg_relation_size(t.oid) > 1048576) AS is_unknown
  FROM part JOIN key ON key.oid = part.key JOIN pg_catalog.pg_class AS t ON t.oid = part.rel
  CROSS JOIN LATERAL (SELECT array_agg(a.attnum) AS atts FROM pg_catalog.pg_attribute AS a
                      WHERE a.attrelid = part.rel AND a.attname = ANY (key.names)) AS own
  WHERE part.relkind = 'r' AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_index AS x
    JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid JOIN pg_catalog.pg_am AS m ON m.oid = i.relam
    WHERE x.indrelid = part.rel AND x.indisvalid AND x.indpred IS NULL AND m.amname IN ('btree', 'hash')
      AND x.indnkeyatts >= cardinality(own.atts) AND (x.indkey::smallint[])[0 : cardinality(own.atts) - 1] @> own.atts
      AND NOT EXISTS (SELECT FROM generate_series(0, cardinality(own.atts) - 1) AS g(place)
                      JOIN pg_catalog.pg_attribute AS a ON a.attrelid = part.rel AND a.attnum = x.indkey[g.place]
                      WHERE x.indcollation[g.place] <> a.attcollation))
  GROUP BY part.key
), made AS (
  SELECT p.key,
         string_agg(format(CASE p.relkind WHEN 'r' THEN 'CREATE INDEX CONCURRENTLY IF NOT EXISTS %I ON %s (%s);'
                                          ELSE 'CREATE INDEX IF NOT EXISTS %I ON ONLY %s (%s);' END,
                           format('fk_%s_%s_%s', key.oid, p.rel, key.relname)::name, p.rel::regclass, key.columns),
                    E'\n' ORDER BY p.relkind, p.level, p.rel) AS built,
         string_agg(format('ALTER INDEX %I.%I ATTACH PARTITION %I.%I;', an.nspname,
                           format('fk_%s_%s_%s', key.oid, p.parent, key.relname)::name, n.nspname,
                           format('fk_%s_%s_%s', key.oid, p.rel, key.relname)::name),
                    E'\n' ORDER BY p.level DESC, p.rel) FILTER (WHERE p.level > 0) AS attached
  FROM part AS p JOIN bare ON bare.key = p.key JOIN key ON key.oid = p.key AND key.relkind = 'p'
  JOIN pg_catalog.pg_class AS c ON c.oid = p.rel JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_class AS a ON a.oid = p.parent LEFT JOIN pg_catalog.pg_namespace AS an ON an.oid = a.relnamespace
  GROUP BY p.key
), told AS (
  SELECT key.*, bare.parts, bare.rows, bare.is_unknown, made.built, made.attached,
         -- The number first: ::name cuts at 63 bytes.
         CASE key.relkind WHEN 'r' THEN format('fk_%s_%s', key.oid, key.relname)::name
                          ELSE format('fk_%s_%s_%s', key.oid, key.conrelid, key.relname)::name END AS index_name
  FROM bare JOIN key ON key.oid = bare.key LEFT JOIN made ON made.key = bare.key
), begun AS (
  SELECT told.*, EXISTS (SELECT FROM pg_catalog.pg_class AS i
                         WHERE i.relname = told.index_name AND i.relnamespace = told.relnamespace) AS is_begun
  FROM told
)
SELECT format('%I.%I.%I', nspname, relname, conname) AS object,
       CASE WHEN rows >= :foreign_key_least_rows::float8 OR NOT is_unknown THEN rows::float8 END AS value,
       format('(%s) refers to %s%s%s%s', columns, confrelid::regclass,
              CASE relkind WHEN 'p' THEN format('; %s of its partitions have no index for it', parts) ELSE '' END,
              CASE WHEN is_again THEN '; the index that another key on the same columns gets will serve it' ELSE '' END,
              CASE WHEN is_begun THEN format('; its index %I was begun and is not valid: invalid_indexes tells how to end that', index_name) ELSE '' END) AS note,
       CASE WHEN is_again OR is_begun THEN NULL
            WHEN relkind = 'r' THEN format('CREATE INDEX CONCURRENTLY %I ON %I.%I (%s);', index_name, nspname, relname, columns)
            ELSE built || E'\n' || attached END AS change,
       CASE WHEN is_again OR is_begun THEN NULL
            ELSE format('DROP INDEX %s%I.%I;', CASE relkind WHEN 'r' THEN 'CONCURRENTLY ' ELSE '' END, nspname, index_name) END AS undo,
       CASE WHEN rows < :foreign_key_least_rows::float8 THEN 'never analysed: how many rows it holds is not known' END AS unmeasured
FROM begun
WHERE rows >= :foreign_key_least_rows::float8 OR is_unknown
ORDER BY 2 DESC NULLS LAST, 1;
