-- purpose: no sequence nears the end of its range or of the column that it feeds
-- scope: database
-- unit: %
-- rank: 2
-- threshold: sequence_warning_percent = 70 | judgement: time for a migration to bigint that does not hurry
-- threshold: sequence_critical_percent = 90 | judgement: the migration is due now
-- warning: sequence_warning_percent
-- critical: sequence_critical_percent
-- exhausts: 100
-- why: behind the end every INSERT fails; an int column ends long before its bigint sequence does
-- next: change the column to bigint (it rewrites the table), or restart a sequence whose old values are gone
-- columns: object text; value float8, share of the range used; note text; change text; undo text; unmeasured text
-- privilege: SELECT or USAGE on the sequence; pg_monitor alone has none, pg_read_all_data has
-- source: PostgreSQL 17, pg_sequence, pg_depend, pg_attrdef. A range that somebody has narrowed on purpose has no change. Columns that refer to
--   one that is widened are widened too. A cycling sequence ends where its column does, if that is sooner
WITH RECURSIVE fed AS (
  -- Owned sequences (serial, identity), and those that only a default names.
  SELECT d.objid AS seq, d.refobjid AS rel, d.refobjsubid::smallint AS att
  FROM pg_catalog.pg_depend AS d
  WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
    AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
  UNION
  SELECT d.refobjid, f.adrelid, f.adnum
  FROM pg_catalog.pg_attrdef AS f
  JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.objid = f.oid
   AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> f.adrelid
), climbed AS (
  -- The type of an inherited column is changed at its top.
  SELECT fed.seq, fed.rel, a.attname FROM fed JOIN pg_catalog.pg_attribute AS a ON a.attrelid = fed.rel AND a.attnum = fed.att
  UNION
  SELECT c.seq, h.inhparent, c.attname
  FROM climbed AS c JOIN pg_catalog.pg_inherits AS h ON h.inhrelid = c.rel
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = h.inhparent AND a.attname = c.attname AND NOT a.attisdropped
), domain AS (
  SELECT oid, typbasetype AS base FROM pg_catalog.pg_type WHERE typtype = 'd'
  UNION ALL
  SELECT domain.oid, t.typbasetype FROM domain JOIN pg_catalog.pg_type AS t ON t.oid = domain.base AND t.typtype = 'd'
), size AS (
  SELECT t.oid, t.typname, m.least, m.most FROM pg_catalog.pg_type AS t
  JOIN (VALUES ('int2', -32768::numeric, 32767::numeric), ('int4', -2147483648, 2147483647),
               ('int8', -9223372036854775808, 9223372036854775807)) AS m (name, least, most) ON m.name = t.typname
  WHERE t.typnamespace = 'pg_catalog'::regnamespace
), col AS (
  SELECT c.seq, c.rel, a.attnum, c.attname, size.typname, size.least, size.most, a.atttypid = size.oid AS is_plain
  FROM climbed AS c
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.rel AND a.attname = c.attname AND a.attinhcount = 0
  LEFT JOIN domain ON domain.oid = a.atttypid
  LEFT JOIN size ON size.oid IN (a.atttypid, domain.base)
  WHERE domain.oid IS NULL OR size.oid IS NOT NULL
), limited AS (
  SELECT q.*, n.nspname, c.relname, own.least AS own_least, own.most AS own_most,
         pg_catalog.has_sequence_privilege(q.seqrelid, 'SELECT, USAGE') AS may,
         CASE WHEN pg_catalog.has_sequence_privilege(q.seqrelid, 'SELECT, USAGE')
              THEN pg_catalog.pg_sequence_last_value(q.seqrelid)::numeric END AS last_value,
         greatest(q.seqmin, k.least) AS low, least(q.seqmax, k.most) AS high, k.said, k.is_narrow, k.is_plain,
         q.seqtypid <> 'int8'::regtype
           AND CASE WHEN q.seqincrement > 0 THEN q.seqmax = own.most ELSE q.seqmin = own.least END AS may_grow
  FROM pg_catalog.pg_sequence AS q
  JOIN size AS own ON own.oid = q.seqtypid
  JOIN pg_catalog.pg_class AS c ON c.oid = q.seqrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN (
    SELECT seq, max(least) AS least, min(most) AS most, bool_or(typname <> 'int8') AS is_narrow,
           bool_and(is_plain) FILTER (WHERE typname <> 'int8') AS is_plain,
           string_agg(format('%s.%I (%s)', rel::regclass, attname, coalesce(typname, 'no integer')), ', ' ORDER BY most, rel, attnum) AS said
    FROM col GROUP BY seq
  ) AS k ON k.seq = q.seqrelid
  WHERE c.relpersistence <> 't' AND NOT (c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery())
    AND NOT (q.seqcycle AND q.seqmin >= coalesce(k.least, q.seqmin) AND q.seqmax <= coalesce(k.most, q.seqmax))
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
                    WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = q.seqrelid AND e.deptype = 'e')
), widened AS (
  SELECT seq, rel, attnum FROM col WHERE typname <> 'int8'
  UNION
  SELECT w.seq, f.conrelid, f.conkey[array_position(f.confkey, w.attnum)]
  FROM widened AS w JOIN pg_catalog.pg_constraint AS f ON f.confrelid = w.rel AND f.contype = 'f' AND f.conparentid = 0
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = f.conkey[array_position(f.confkey, w.attnum)]
   AND a.atttypid IN ('int2'::regtype, 'int4'::regtype) AND a.attinhcount = 0
  WHERE w.attnum = ANY (f.confkey)
), steps AS (
  SELECT w.seq, string_agg(format('ALTER TABLE %s ALTER COLUMN %I TYPE bigint;', w.rel::regclass, a.attname), E'\n' ORDER BY w.rel, w.attnum) AS up,
         string_agg(format('ALTER TABLE %s ALTER COLUMN %I TYPE %s;', w.rel::regclass, a.attname,
                           pg_catalog.format_type(a.atttypid, a.atttypmod)), E'\n' ORDER BY w.rel DESC, w.attnum) AS down
  FROM widened AS w JOIN pg_catalog.pg_attribute AS a ON a.attrelid = w.rel AND a.attnum = w.attnum GROUP BY w.seq
)
SELECT format('%I.%I', nspname, relname) AS object,
       round(100.0 * CASE WHEN last_value IS NULL THEN 0
                          WHEN seqincrement > 0 THEN (last_value - seqmin + 1) / greatest(1, high - seqmin + 1)
                          ELSE (seqmax - last_value + 1) / greatest(1, seqmax - low + 1) END, 3)::float8 AS value,
       CASE WHEN last_value IS NULL THEN 'never used'
            ELSE format('at %s of %s', last_value, CASE WHEN seqincrement > 0 THEN high ELSE low END) END
         || coalesce(', feeds ' || said, ', feeds no column') AS note,
       CASE WHEN may_grow OR is_narrow AND (seqmax > high OR seqmin < low)
            THEN CASE WHEN is_plain IS NOT FALSE
                      THEN concat_ws(E'\n', CASE WHEN is_narrow THEN up END,
                                     CASE WHEN may_grow THEN format('ALTER SEQUENCE %I.%I AS bigint;', nspname, relname) END) END END AS change,
       CASE WHEN is_plain IS NOT FALSE
            THEN concat_ws(E'\n', CASE WHEN may_grow THEN format('ALTER SEQUENCE %I.%I AS %s;', nspname, relname, seqtypid::regtype) END,
                           CASE WHEN is_narrow THEN down END) END AS undo,
       CASE WHEN NOT may THEN 'no privilege on the sequence: GRANT pg_read_all_data, or SELECT on it' END AS unmeasured
FROM limited LEFT JOIN steps ON steps.seq = limited.seqrelid
ORDER BY 2 DESC NULLS FIRST, 1;
