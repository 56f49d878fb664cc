-- purpose: every rule is understood
-- scope: cluster
-- unit: rules
-- rank: 2
-- any: warning
-- why: the server keeps the rules from before, and does not start again
-- next: correct the line
-- columns: object text; value float8; note text
-- privilege: SELECT on pg_hba_file_rules and EXECUTE on pg_hba_file_rules(); pg_monitor has neither
-- source: PostgreSQL 17, 20.1 pg_hba.conf
SELECT format('%s: %s', place, error) AS object,
       1::float8 AS value, error AS note
FROM (SELECT r.*, coalesce((to_jsonb(r) ->> 'rule_number')::int, 0) AS number,
             coalesce(pg_catalog.regexp_replace(to_jsonb(r) ->> 'file_name', '^.*/', '') || ' ', '') || 'line ' || line_number AS place
      FROM pg_catalog.pg_hba_file_rules AS r) AS rules
WHERE error IS NOT NULL
ORDER BY number, line_number;
