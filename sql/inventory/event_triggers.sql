-- purpose: event triggers, which run their function at other people's commands
-- scope: database
-- columns: item text; the others are facts
-- source: PostgreSQL 17, pg_event_trigger
SELECT format('%I', t.evtname) AS item, coalesce(pg_catalog.quote_ident(r.rolname), 'nobody') AS owner, t.evtevent::text AS event,
       coalesce(array_to_string(t.evttags, ', '), 'every command') AS tags, format('%I.%I()', n.nspname, p.proname) AS function,
       CASE t.evtenabled WHEN 'O' THEN 'yes' WHEN 'D' THEN 'no' WHEN 'R' THEN 'on replicas' ELSE 'always' END AS enabled,
       pg_catalog.md5(p.prosrc) AS body_md5
FROM pg_catalog.pg_event_trigger AS t
JOIN pg_catalog.pg_proc AS p ON p.oid = t.evtfoid
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = t.evtowner
ORDER BY 1;
