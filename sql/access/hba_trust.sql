-- purpose: nobody gets in by the network without a proof
-- scope: cluster
-- unit: rules
-- rank: 1
-- any: critical
-- why: trust lets everybody in as whoever they say they are
-- next: use scram-sha-256 or cert, then reload
-- columns: object text; value float8; note text
-- privilege: SELECT on pg_hba_file_rules and EXECUTE on pg_hba_file_rules(); pg_monitor has neither
-- source: PostgreSQL 17, 20.1 pg_hba.conf
SELECT format('%s %s %s%s %s', type, array_to_string(database, ','), array_to_string(user_name, ','),
              coalesce(' ' || address, '') || coalesce(' ' || netmask, ''), auth_method) AS object,
       1::float8 AS value, format('line %s: %s', line_number, 'any process that reaches the port is let in') AS note
FROM pg_catalog.pg_hba_file_rules
WHERE auth_method = 'trust' AND type <> 'local' AND pg_catalog.current_setting('listen_addresses') <> ''
ORDER BY line_number;
