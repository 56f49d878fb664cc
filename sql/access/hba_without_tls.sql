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
SELECT format('%s %s %s%s %s', type, array_to_string(database, ','), array_to_string(user_name, ','),
              coalesce(' ' || address, '') || coalesce(' ' || netmask, ''), auth_method) AS object,
       1::float8 AS value, format('line %s: %s', line_number, 'also without TLS') AS note
FROM pg_catalog.pg_hba_file_rules
WHERE (type <> 'local' AND NOT (coalesce(address, '') IN ('127.0.0.1', '::1', 'samehost', 'localhost') AND coalesce(netmask, '') IN ('', '255.255.255.255', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'))) AND auth_method <> 'reject' AND type IN ('host', 'hostnossl', 'hostnogssenc')
ORDER BY line_number;
