-- purpose: no rule is open to every address
-- scope: cluster
-- unit: rules
-- rank: 3
-- any: warning
-- why: every machine that can reach the port may try
-- next: name the networks that need it
-- columns: object text; value float8; note text
-- privilege: SELECT on pg_hba_file_rules and EXECUTE on pg_hba_file_rules(); pg_monitor has neither
-- source: PostgreSQL 17, 20.1 pg_hba.conf
SELECT format('%s %s %s%s %s', type, array_to_string(database, ','), array_to_string(user_name, ','),
              coalesce(' ' || address, '') || coalesce(' ' || netmask, ''), auth_method) AS object,
       1::float8 AS value, format('line %s: %s', line_number, 'open to every address') AS note
FROM pg_catalog.pg_hba_file_rules
WHERE type <> 'local' AND auth_method <> 'reject' AND (address = 'all' OR (netmask IN ('0.0.0.0', '::')))
ORDER BY line_number;
