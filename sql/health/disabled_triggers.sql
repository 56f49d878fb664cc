-- purpose: no trigger is switched off
-- scope: database
-- unit: triggers
-- rank: 5
-- any: warning
-- why: what it guards is not guarded; a foreign key's triggers are among them
-- next: find out who switched it off and what was written since, then enable it
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, pg_trigger.tgenabled; a constraint's trigger that fires on a replica alone enforces nothing here. ENABLE TRIGGER on
--   a partitioned table goes down to the copies on its partitions, which are left out where the one above is off too
WITH RECURSIVE off AS (
  SELECT g.oid AS root, g.oid, g.tgrelid, g.tgname, g.tgenabled
  FROM pg_catalog.pg_trigger AS g
  JOIN pg_catalog.pg_class AS t ON t.oid = g.tgrelid AND t.relpersistence <> 't'
  WHERE (g.tgenabled = 'D' OR g.tgenabled = 'R' AND g.tgisinternal)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger AS p
                    WHERE p.oid = g.tgparentid AND (p.tgenabled = 'D' OR p.tgenabled = 'R' AND p.tgisinternal))
  UNION ALL
  SELECT off.root, g.oid, g.tgrelid, g.tgname, g.tgenabled
  FROM off JOIN pg_catalog.pg_trigger AS g ON g.tgparentid = off.oid
), undone AS (
  SELECT root, string_agg(format('ALTER TABLE ONLY %s %s TRIGGER %I;', tgrelid::regclass,
                                 CASE tgenabled WHEN 'D' THEN 'DISABLE' ELSE 'ENABLE REPLICA' END, tgname), E'\n' ORDER BY oid) AS statements
  FROM off WHERE tgenabled IN ('D', 'R') GROUP BY root
)
SELECT format('%I.%I.%I', n.nspname, t.relname, g.tgname) AS object, 1::float8 AS value,
       CASE WHEN g.tgisinternal THEN 'belongs to a constraint: it is not enforced' ELSE pg_catalog.pg_get_triggerdef(g.oid) END AS note,
       format('ALTER TABLE %I.%I ENABLE TRIGGER %I;', n.nspname, t.relname, g.tgname) AS change,
       undone.statements AS undo
FROM undone
JOIN pg_catalog.pg_trigger AS g ON g.oid = undone.root
JOIN pg_catalog.pg_class AS t ON t.oid = g.tgrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
                  WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = t.oid AND e.deptype = 'e')
UNION ALL
SELECT format('event trigger %I', v.evtname), 1, format('on %s', v.evtevent),
       format('ALTER EVENT TRIGGER %I ENABLE;', v.evtname), format('ALTER EVENT TRIGGER %I DISABLE;', v.evtname)
FROM pg_catalog.pg_event_trigger AS v
WHERE v.evtenabled = 'D'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
                  WHERE e.classid = 'pg_catalog.pg_event_trigger'::regclass AND e.objid = v.oid AND e.deptype = 'e')
ORDER BY 1;
