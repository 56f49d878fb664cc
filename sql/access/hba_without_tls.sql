-- purpose: no rule lets the network in without TLS
-- scope: cluster
-- unit: rules
-- rank: 3
-- any: warning
-- why: what is sent and answered can be read and changed on the way
-- next: write hostssl in place of host
-- columns: object text; value float8; note text
-- privilege: SELECT on pg_hba_file_rules and EXECUTE on pg_hba_file_rules(); pg_monitor has neither
-- source: PostgreSQL 17, 20.1 pg_hba.conf
SELECT format('%s %s %s%s %s', type, (SELECT string_agg(CASE WHEN one ~ '[,"[:space:]]' THEN '"' || replace(one, '"', '""') || '"' ELSE one END, ',' ORDER BY n) FROM unnest(database) WITH ORDINALITY AS u (one, n)),
              (SELECT string_agg(CASE WHEN one ~ '[,"[:space:]]' THEN '"' || replace(one, '"', '""') || '"' ELSE one END, ',' ORDER BY n) FROM unnest(user_name) WITH ORDINALITY AS u (one, n)),
              coalesce(' ' || address, '') || coalesce(' ' || netmask, ''), auth_method) AS object,
       1::float8 AS value, format('%s: %s', place, 'also without TLS') AS note
FROM (SELECT r.*, coalesce((to_jsonb(r) ->> 'rule_number')::int, 0) AS number,
             coalesce(pg_catalog.regexp_replace(to_jsonb(r) ->> 'file_name', '^.*/', '') || ' ', '') || 'line ' || line_number AS place
      FROM pg_catalog.pg_hba_file_rules AS r) AS rules
WHERE type IN ('host', 'hostnossl', 'hostnogssenc') AND auth_method <> 'reject'
  AND NOT (coalesce(address, '') IN ('samehost', 'localhost')
           OR (address = '::1' AND netmask = 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff') OR (address LIKE '127.%' AND netmask LIKE '255.%'))
ORDER BY number, line_number;
