-- purpose: no rule is open to every address, or to a large part of them
-- scope: cluster
-- unit: rules
-- rank: 3
-- any: warning
-- why: every machine that can reach the port may try
-- next: name the networks that need it
-- columns: object text; value float8; note text
-- privilege: SELECT on pg_hba_file_rules and EXECUTE on pg_hba_file_rules(); pg_monitor has neither
-- source: PostgreSQL 17, 20.1 pg_hba.conf
SELECT format('%s %s %s%s %s', type, (SELECT string_agg(CASE WHEN one ~ '[,"[:space:]]' THEN '"' || replace(one, '"', '""') || '"' ELSE one END, ',' ORDER BY n) FROM unnest(database) WITH ORDINALITY AS u (one, n)),
              (SELECT string_agg(CASE WHEN one ~ '[,"[:space:]]' THEN '"' || replace(one, '"', '""') || '"' ELSE one END, ',' ORDER BY n) FROM unnest(user_name) WITH ORDINALITY AS u (one, n)),
              coalesce(' ' || address, '') || coalesce(' ' || netmask, ''), auth_method) AS object,
       1::float8 AS value, format('%s: %s', place, CASE WHEN address = 'all' OR netmask IN ('0.0.0.0', '::') THEN 'open to every address' ELSE 'open to a large part of all addresses' END) AS note
FROM (SELECT r.*, coalesce((to_jsonb(r) ->> 'rule_number')::int, 0) AS number,
             coalesce(pg_catalog.regexp_replace(to_jsonb(r) ->> 'file_name', '^.*/', '') || ' ', '') || 'line ' || line_number AS place
      FROM pg_catalog.pg_hba_file_rules AS r) AS rules
WHERE type <> 'local' AND auth_method <> 'reject' AND (address = 'all' OR netmask IN ('::', '8000::', 'c000::', 'e000::')
       OR netmask IN ('0.0.0.0', '128.0.0.0', '192.0.0.0', '224.0.0.0', '240.0.0.0', '248.0.0.0', '252.0.0.0', '254.0.0.0'))
ORDER BY number, line_number;
