-- purpose: no index is invalid
-- scope: database
-- unit: MiB
-- rank: 5
-- any: warning
-- why: it is written at each change and never read, and a unique one does not hold what it promises
-- next: build it again, or drop it when its build had failed (_ccnew, _ccold)
-- columns: object text; value float8, size, a partitioned index's with all that are attached to it; note text; change text; undo text
-- source: PostgreSQL 17, pg_index.indisvalid, 11.12 and 5.12.2.2 (CREATE INDEX ON ONLY, ATTACH PARTITION). A build that is still running is
--   left out. A partitioned index becomes valid when the last one is attached, and by nothing else: where none is lacking, or an attached
--   one is invalid, another is built beside it. It never does beside a foreign partition, which has none to attach.
WITH RECURSIVE building AS (
  SELECT k.relation FROM pg_catalog.pg_locks AS k
  WHERE k.locktype = 'relation' AND k.mode = 'ShareUpdateExclusiveLock' AND k.granted
    AND k.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
    AND k.pid IN (SELECT pid FROM pg_catalog.pg_stat_progress_create_index)
), of_extension AS (
  SELECT objid AS rel FROM pg_catalog.pg_depend WHERE classid = 'pg_catalog.pg_class'::regclass AND deptype = 'e'
), top AS (
  SELECT x.indexrelid AS oid, x.indrelid, x.indisunique, i.relname, n.nspname, c.contype, pg_catalog.pg_get_constraintdef(c.oid) AS condef,
         CASE WHEN c.condeferrable THEN ' DEFERRABLE' ELSE '' END || CASE WHEN c.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END AS deferral,
         CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END AS kind,
         substr(pg_catalog.pg_get_indexdef(x.indexrelid),
                length(format('CREATE %sINDEX %I ON ONLY %s ', CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END, i.relname,
                              x.indrelid::regclass)) + 1) AS said
  FROM pg_catalog.pg_index AS x
  JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = i.relnamespace
  LEFT JOIN pg_catalog.pg_constraint AS c ON c.conindid = x.indexrelid AND c.contype IN ('p', 'u', 'x')
  WHERE NOT x.indisvalid AND i.relkind = 'I' AND NOT i.relispartition AND x.indrelid NOT IN (SELECT rel FROM of_extension)
), part AS (
  -- Each table below the one of an invalid partitioned index, with its own part of that index: attached, or there and to be attached.
  SELECT top.oid AS root, top.indrelid AS rel, top.oid AS idx, true AS is_attached, NULL::oid AS parent, 0 AS level FROM top
  UNION ALL
  SELECT p.root, h.inhrelid, coalesce(a.idx, b.idx), a.idx IS NOT NULL, p.rel, p.level + 1
  FROM part AS p JOIN top ON top.oid = p.root
  JOIN pg_catalog.pg_inherits AS h ON h.inhparent = p.rel AND NOT h.inhdetachpending
  LEFT JOIN LATERAL (
    SELECT x.indexrelid AS idx FROM pg_catalog.pg_index AS x JOIN pg_catalog.pg_inherits AS ih ON ih.inhrelid = x.indexrelid
    WHERE x.indrelid = h.inhrelid AND ih.inhparent = p.idx
  ) AS a ON true
  LEFT JOIN LATERAL (
    SELECT min(x.indexrelid) AS idx FROM pg_catalog.pg_index AS x JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
    WHERE x.indrelid = h.inhrelid AND NOT i.relispartition AND (x.indisvalid OR i.relkind = 'I') AND x.indisunique = top.indisunique
      AND (SELECT c.contype FROM pg_catalog.pg_constraint AS c WHERE c.conindid = x.indexrelid AND c.contype IN ('p', 'u', 'x'))
          IS NOT DISTINCT FROM top.contype
      AND pg_catalog.pg_get_indexdef(x.indexrelid)
          = format('CREATE %sINDEX %I ON %s%s %s', top.kind, i.relname, CASE i.relkind WHEN 'I' THEN 'ONLY ' ELSE '' END,
                   x.indrelid::regclass, top.said)
  ) AS b ON true
), state AS (
  SELECT p.root, sum(pg_catalog.pg_relation_size(p.idx)) FILTER (WHERE p.is_attached) AS bytes,
         count(*) FILTER (WHERE NOT p.is_attached AND t.relkind = 'r') AS lacking, bool_or(t.relkind = 'f') AS is_away,
         bool_or(NOT p.is_attached) AND NOT bool_or(coalesce(NOT x.indisvalid AND t.relkind = 'r', false)) AS is_kept,
         bool_or(p.rel IN (SELECT relation FROM building)) AS is_building
  FROM part AS p JOIN pg_catalog.pg_class AS t ON t.oid = p.rel
  LEFT JOIN pg_catalog.pg_index AS x ON x.indexrelid = p.idx
  GROUP BY p.root
), root AS (
  SELECT top.*, format('%I.%I', top.nspname, top.relname) AS name, s.bytes, s.lacking, s.is_away, s.is_kept
  FROM state AS s JOIN top ON top.oid = s.root
  -- One that is to be attached to another is told with that.
  WHERE NOT s.is_building AND NOT EXISTS (SELECT FROM part AS p WHERE p.idx = top.oid AND p.root <> top.oid)
), named AS (
  SELECT p.root, p.rel, p.level, t.relkind, format('%I.%I', tn.nspname, t.relname) AS rel_name, p.idx IS NULL OR NOT r.is_kept AS is_new,
         p.level > 0 AND NOT (p.is_attached AND r.is_kept) AS is_to_attach,
         CASE WHEN p.idx IS NOT NULL AND r.is_kept THEN (SELECT format('%I', i.relname) FROM pg_catalog.pg_class AS i WHERE i.oid = p.idx)
              ELSE format('%I', format('part_%s_%s_%s', p.root, p.rel, r.relname)::name) END AS own,  -- ::name cuts at 63 bytes
         tn.nspname, p.parent
  FROM part AS p JOIN root AS r ON r.oid = p.root
  JOIN pg_catalog.pg_class AS t ON t.oid = p.rel JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
), made AS (
  SELECT m.root,
         string_agg(concat_ws(E'\n',
                      CASE WHEN r.contype IS NULL OR m.relkind = 'r'
                           THEN format('CREATE %sINDEX %sIF NOT EXISTS %s ON %s%s %s;', r.kind,
                                       CASE m.relkind WHEN 'r' THEN 'CONCURRENTLY ' ELSE '' END, m.own,
                                       CASE m.relkind WHEN 'r' THEN '' ELSE 'ONLY ' END, m.rel_name, r.said) END,
                      CASE WHEN r.contype IS NOT NULL
                           THEN format('ALTER TABLE ONLY %s ADD CONSTRAINT %s %s;', m.rel_name, m.own,
                                       CASE m.relkind WHEN 'r' THEN CASE r.contype WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END
                                                                    || ' USING INDEX ' || m.own || r.deferral
                                                      ELSE r.condef END) END),
                    E'\n' ORDER BY m.relkind, m.level, m.rel) FILTER (WHERE m.is_new) AS built,
         string_agg(format('ALTER INDEX %I.%s ATTACH PARTITION %I.%s;', above.nspname, above.own, m.nspname, m.own),
                    E'\n' ORDER BY m.level DESC, m.rel) FILTER (WHERE m.is_to_attach) AS attached,
         max(m.own) FILTER (WHERE m.level = 0) AS root_name
  FROM named AS m JOIN root AS r ON r.oid = m.root
  LEFT JOIN named AS above ON above.root = m.root AND above.rel = m.parent
  GROUP BY m.root
)
SELECT format('%I.%I', n.nspname, i.relname) AS object,
       round(pg_catalog.pg_relation_size(i.oid) / 1048576.0, 1)::float8 AS value,
       format('on %I.%I%s', tn.nspname, t.relname, CASE WHEN x.indisunique THEN ', unique' ELSE '' END) AS note,
       CASE WHEN NOT i.relispartition AND (i.relname ~ '_cc(new|old)\d*$' OR x.indisunique)
            THEN format('DROP INDEX CONCURRENTLY %I.%I;', n.nspname, i.relname)
            ELSE format('REINDEX INDEX CONCURRENTLY %I.%I;', n.nspname, i.relname) END AS change,
       CASE WHEN NOT i.relispartition AND x.indisunique AND i.relname !~ '_cc(new|old)\d*$'
            THEN regexp_replace(pg_catalog.pg_get_indexdef(i.oid), ' INDEX ', ' INDEX CONCURRENTLY ') || ';' END AS undo
FROM pg_catalog.pg_index AS x
JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid AND i.relkind = 'i'
JOIN pg_catalog.pg_namespace AS n ON n.oid = i.relnamespace
JOIN pg_catalog.pg_class AS t ON t.oid = x.indrelid
JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
WHERE NOT x.indisvalid AND i.relpersistence <> 't' AND i.oid NOT IN (SELECT idx FROM part WHERE idx IS NOT NULL)
  AND x.indrelid NOT IN (SELECT relation FROM building) AND x.indrelid NOT IN (SELECT rel FROM of_extension)
UNION ALL
SELECT r.name, round(coalesce(r.bytes, 0) / 1048576.0, 1)::float8,
       format('on %s%s; %s', r.indrelid::regclass, CASE r.kind WHEN '' THEN '' ELSE ', unique' END,
              CASE WHEN r.lacking > 0 THEN format('%s of its partitions have no index attached to it', r.lacking)
                   ELSE 'all of its partitions have one, and it has not become valid' END),
       CASE WHEN r.contype IS NOT NULL AND (r.contype = 'x' OR NOT r.is_kept) THEN NULL
            WHEN r.is_away
            THEN format(E'-- Locks the table against writes while it is built: beside a foreign partition there is no other way.\nDROP INDEX %s;\n', r.name)
                 || format('CREATE %sINDEX %I ON %s %s;', r.kind, r.relname, r.indrelid::regclass, r.said)
            ELSE concat_ws(E'\n', m.built, m.attached,
                           CASE WHEN NOT r.is_kept THEN format(E'DROP INDEX %s;\nALTER INDEX %I.%s RENAME TO %I;', r.name, r.nspname,
                                                               m.root_name, r.relname) END) END,
       NULL
FROM root AS r JOIN made AS m ON m.root = r.oid
ORDER BY 1;
