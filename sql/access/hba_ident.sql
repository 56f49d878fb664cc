-- purpose: no other machine is believed who its user is
-- scope: cluster
-- unit: rules
-- rank: 2
-- any: critical
-- why: the method ident asks the client's machine, which says what it likes
-- next: use scram-sha-256 or cert
-- columns: object text; value float8; note text
-- privilege: SELECT on pg_hba_file_rules and EXECUTE on pg_hba_file_rules(); pg_monitor has neither
-- source: PostgreSQL 17, 20.1 pg_hba.conf
SELECT format('%s %s %s%s %s', type, (SELECT string_agg(CASE WHEN one ~ '[,"[:space:]]' THEN '"' || replace(one, '"', '""') || '"' ELSE one END, ',' ORDER BY n) FROM unnest(database) WITH ORDINALITY AS u (one, n)),
              (SELECT string_agg(CASE WHEN one ~ '[,"[:space:]]' THEN '"' || replace(one, '"', '""') || '"' ELSE one END, ',' ORDER BY n) FROM unnest(user_name) WITH ORDINALITY AS u (one, n)),
              coalesce(' ' || address, '') || coalesce(' ' || netmask, ''), auth_method) AS object,
       1::float8 AS value, format('%s: %s', place, 'the other machine says who it is') AS note
FROM (SELECT r.*, coalesce((to_jsonb(r) ->> 'rule_number')::int, 0) AS number,
             coalesce(pg_catalog.regexp_replace(to_jsonb(r) ->> 'file_name', '^.*/', '') || ' ', '') || 'line ' || line_number AS place
      FROM pg_catalog.pg_hba_file_rules AS r) AS rules
WHERE auth_method = 'ident' AND type <> 'local'
ORDER BY number, line_number;
