-- purpose: triggers that an INSERT or UPDATE of a table may fire: its own and those of its partitions; the internal ones of foreign keys stay out
-- params: oid bigint
-- columns: schema text; table_name text; owner text (of the table that has the trigger); is_part bool; name text; timing text; level text;
--   on_insert bool; on_update bool; columns text[] (of UPDATE OF); has_condition bool; state text (pg_trigger.tgenabled); is_constraint bool;
--   is_deferrable bool; is_deferred bool; function text (quoted, with its schema); runs_as text (the owner of a SECURITY DEFINER function)
-- privilege: none
-- source: PostgreSQL 17, pg_trigger, pg_partition_tree, "ALTER TABLE … DISABLE TRIGGER"
SELECT n.nspname AS schema,
       c.relname AS table_name,
       pg_catalog.pg_get_userbyid(c.relowner)::text AS owner,
       c.oid <> :oid::oid AS is_part,
       t.tgname AS name,
       CASE WHEN t.tgtype & 2 <> 0 THEN 'BEFORE' WHEN t.tgtype & 64 <> 0 THEN 'INSTEAD OF' ELSE 'AFTER' END AS timing,
       CASE WHEN t.tgtype & 1 <> 0 THEN 'ROW' ELSE 'STATEMENT' END AS level,
       t.tgtype & 4 <> 0 AS on_insert,
       t.tgtype & 16 <> 0 AS on_update,
       ARRAY(SELECT a.attname::text
             FROM pg_catalog.unnest(t.tgattr::int2[]) WITH ORDINALITY AS k (number, position)
             JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.tgrelid AND a.attnum = k.number
             ORDER BY k.position) AS columns,
       t.tgqual IS NOT NULL AS has_condition,
       t.tgenabled::text AS state,
       t.tgconstraint <> 0 AS is_constraint,
       t.tgdeferrable AS is_deferrable,
       t.tginitdeferred AS is_deferred,
       pg_catalog.format('%I.%I', fn.nspname, p.proname) AS function,
       CASE WHEN p.prosecdef THEN pg_catalog.pg_get_userbyid(p.proowner)::text END AS runs_as
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
JOIN pg_catalog.pg_namespace AS fn ON fn.oid = p.pronamespace
WHERE NOT t.tgisinternal
  AND t.tgtype & 20 <> 0
  AND (c.oid = :oid::oid OR c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(:oid::oid)))
ORDER BY c.oid <> :oid::oid, n.nspname, c.relname, t.tgname;
