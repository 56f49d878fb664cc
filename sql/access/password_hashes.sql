-- purpose: no password is kept as MD5
-- scope: cluster
-- unit: roles
-- rank: 2
-- any: critical
-- why: who reads an MD5 verifier can log in with it
-- next: set password_encryption = 'scram-sha-256' and have the password set anew
-- columns: object text; value float8; note text
-- privilege: SELECT on pg_authid, which only superusers have by default
-- source: PostgreSQL 17, pg_authid.rolpassword; the hash itself is not read
SELECT format('%I', rolname) AS object, 1::float8 AS value, 'MD5' AS note
FROM pg_catalog.pg_authid WHERE rolpassword LIKE 'md5%' ORDER BY 1;
