-- purpose: the way in is encrypted, and passwords are kept well
-- scope: cluster
-- unit: of 2
-- rank: 2
-- threshold: way_in_warning = 1 | judgement: a setting that would be wrong as soon as the server listens
-- threshold: way_in_critical = 2 | PostgreSQL 17, 18.9 and 20.5
-- warning: way_in_warning
-- critical: way_in_critical
-- why: without TLS everything can be read on the way; an MD5 verifier is as good as the password; 2 it is open now
-- next: set it as said; certificates first
-- columns: object text; value float8; note text
-- source: PostgreSQL 17, ssl, ssl_min_protocol_version, password_encryption
SELECT name AS object,
       (CASE WHEN name IN ('ssl', 'ssl_min_protocol_version') AND pg_catalog.current_setting('listen_addresses') IN ('', 'localhost', '127.0.0.1', '::1')
             THEN 1 ELSE 2 END)::float8 AS value,
       format('is %s; listen_addresses is ''%s''', setting, pg_catalog.current_setting('listen_addresses')) AS note
FROM pg_catalog.pg_settings
WHERE (name = 'ssl' AND setting = 'off')
   OR (name = 'ssl_min_protocol_version' AND setting IN ('', 'TLSv1', 'TLSv1.1'))
   OR (name = 'password_encryption' AND setting <> 'scram-sha-256')
ORDER BY 2 DESC, 1;
