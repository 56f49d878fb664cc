-- purpose: the password of every role that can log in ends some day
-- scope: cluster
-- unit: roles
-- rank: 6
-- any: warning
-- why: a password that never ends is never changed
-- next: set VALID UNTIL, and change the password before
-- columns: object text; value float8; note text
-- source: PostgreSQL 17, pg_roles.rolvaliduntil; it ends passwords only, no certificate, peer or trust
SELECT format('%I', rolname) AS object, 1::float8 AS value,
       CASE WHEN rolvaliduntil IS NULL THEN 'no VALID UNTIL' ELSE 'VALID UNTIL ''infinity''' END AS note
FROM pg_catalog.pg_roles
WHERE rolcanlogin AND (rolvaliduntil IS NULL OR rolvaliduntil = 'infinity') ORDER BY 1;
