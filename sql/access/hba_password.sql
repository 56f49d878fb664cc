-- purpose: no password travels in clear
-- scope: cluster
-- unit: rules
-- rank: 2
-- any: critical
-- why: the method password sends it as it is
-- next: use scram-sha-256
-- columns: object text; value float8; note text
-- privilege: SELECT on pg_hba_file_rules and EXECUTE on pg_hba_file_rules(); pg_monitor has neither
-- source: PostgreSQL 17, 20.1 pg_hba.conf
SELECT format('%s %s %s%s %s', type, array_to_string(database, ','), array_to_string(user_name, ','),
              coalesce(' ' || address, '') || coalesce(' ' || netmask, ''), auth_method) AS object,
       1::float8 AS value, format('line %s: %s', line_number, 'without TLS anybody on the way reads it') AS note
FROM pg_catalog.pg_hba_file_rules
WHERE auth_method = 'password'
ORDER BY line_number;
