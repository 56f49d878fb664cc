-- purpose: no trigger is switched off
-- scope: database
-- unit: triggers
-- rank: 5
-- any: warning
-- why: what it guards is not guarded; a foreign key's triggers are among them
-- next: find out who switched it off and what was written since, then enable it
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, pg_trigger.tgenabled
SELECT format('%I.%I.%I', n.nspname, t.relname, g.tgname) AS object, 1::float8 AS value,
       CASE WHEN g.tgisinternal THEN 'belongs to a constraint: it is not enforced' ELSE pg_catalog.pg_get_triggerdef(g.oid) END AS note,
       format('ALTER TABLE %I.%I ENABLE TRIGGER %I;', n.nspname, t.relname, g.tgname) AS change,
       format('ALTER TABLE %I.%I DISABLE TRIGGER %I;', n.nspname, t.relname, g.tgname) AS undo
FROM pg_catalog.pg_trigger AS g
JOIN pg_catalog.pg_class AS t ON t.oid = g.tgrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
WHERE g.tgenabled = 'D' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY 1;
