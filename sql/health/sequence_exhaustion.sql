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
-- source: PostgreSQL 17, pg_sequence, pg_depend, pg_attrdef
WITH fed AS (
  -- Owned sequences (serial, identity), and those that only a default names.
  SELECT d.objid AS seq, d.refobjid AS rel, d.refobjsubid AS att
  FROM pg_catalog.pg_depend AS d
  WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
    AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
  UNION
  SELECT d.refobjid, f.adrelid, f.adnum
  FROM pg_catalog.pg_attrdef AS f
  JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.objid = f.oid
   AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> f.adrelid
), limited AS (
  SELECT q.seqrelid, n.nspname, c.relname, q.seqincrement, q.seqmin, q.seqmax, q.seqstart,
         pg_catalog.has_sequence_privilege(q.seqrelid, 'SELECT, USAGE') AS may,
         CASE WHEN pg_catalog.has_sequence_privilege(q.seqrelid, 'SELECT, USAGE')
              THEN pg_catalog.pg_sequence_last_value(q.seqrelid) END AS last_value,
         k.relid, k.attname, k.typname, k.type_max
  FROM pg_catalog.pg_sequence AS q
  JOIN pg_catalog.pg_class AS c ON c.oid = q.seqrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN LATERAL (
    SELECT format('%I.%I', tn.nspname, t.relname) AS relid, a.attname, y.typname,
           CASE y.typname WHEN 'int2' THEN 32767 WHEN 'int4' THEN 2147483647 WHEN 'int8' THEN 9223372036854775807 END
             AS type_max
    FROM fed JOIN pg_catalog.pg_class AS t ON t.oid = fed.rel
    JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = fed.rel AND a.attnum = fed.att
    LEFT JOIN pg_catalog.pg_type AS b ON b.oid = a.atttypid
    JOIN pg_catalog.pg_type AS y ON y.oid = CASE b.typtype WHEN 'd' THEN b.typbasetype ELSE b.oid END
    WHERE fed.seq = q.seqrelid
    ORDER BY type_max LIMIT 1
  ) AS k ON true
  WHERE NOT q.seqcycle AND c.relpersistence <> 't'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
                    WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = q.seqrelid AND e.deptype = 'e')
)
SELECT format('%I.%I', nspname, relname) AS object,
       round(100.0 * CASE WHEN last_value IS NULL THEN 0
                          WHEN seqincrement > 0
                          THEN (last_value::numeric - seqmin + 1) / greatest(1, least(seqmax::numeric, type_max) - seqmin + 1)
                          ELSE (seqmax::numeric - last_value + 1) / greatest(1, seqmax::numeric - seqmin + 1) END, 3)::float8
         AS value,
       CASE WHEN last_value IS NULL THEN 'never used'
            ELSE format('at %s of %s', last_value,
                        CASE WHEN seqincrement > 0 THEN least(seqmax::numeric, type_max) ELSE seqmin END) END
         || coalesce(format(', feeds %s.%I (%s)', relid, attname, typname), ', feeds no column') AS note,
       CASE WHEN type_max < 9223372036854775807
            THEN format('ALTER TABLE %s ALTER COLUMN %I TYPE bigint;', relid, attname)
              || CASE WHEN seqmax < 9223372036854775807 AND seqincrement > 0
                      THEN format(E'\nALTER SEQUENCE %I.%I AS bigint;', nspname, relname) ELSE '' END END AS change,
       CASE WHEN type_max < 9223372036854775807
            THEN format('ALTER TABLE %s ALTER COLUMN %I TYPE %s;', relid, attname,
                        CASE typname WHEN 'int2' THEN 'smallint' ELSE 'integer' END) END AS undo,
       CASE WHEN NOT may THEN 'no privilege on the sequence: GRANT pg_read_all_data, or SELECT on it' END AS unmeasured
FROM limited
ORDER BY 2 DESC NULLS FIRST, 1;
