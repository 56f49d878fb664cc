-- purpose: no rule offers MD5
-- scope: cluster
-- unit: rules
-- rank: 4
-- any: warning
-- why: MD5 is broken and its verifier is as good as the password
-- next: use scram-sha-256, once every password is kept so
-- columns: object text; value float8; note text
-- privilege: SELECT on pg_hba_file_rules and EXECUTE on pg_hba_file_rules(); pg_monitor has neither
-- source: PostgreSQL 17, 20.1 pg_hba.conf
SELECT format('%s %s %s%s %s', type, array_to_string(database, ','), array_to_string(user_name, ','),
              coalesce(' ' || address, '') || coalesce(' ' || netmask, ''), auth_method) AS object,
       1::float8 AS value, format('line %s: %s', line_number, 'it takes SCRAM passwords as well') AS note
FROM pg_catalog.pg_hba_file_rules
WHERE auth_method = 'md5'
ORDER BY line_number;
