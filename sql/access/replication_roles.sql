-- purpose: no role beside superusers replicates
-- scope: cluster
-- unit: roles
-- rank: 2
-- any: warning
-- why: it can copy the whole cluster, and hold back WAL by a slot until the disk is full
-- next: take the attribute away, or have it excepted: runbook exception access-audit --finding
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, pg_roles.rolreplication
SELECT format('%I', rolname) AS object, 1::float8 AS value,
       CASE WHEN rolcanlogin THEN 'can log in' ELSE 'cannot log in, but members can SET ROLE to it' END AS note,
       format('ALTER ROLE %I NOREPLICATION;', rolname) AS change, format('ALTER ROLE %I REPLICATION;', rolname) AS undo
FROM pg_catalog.pg_roles WHERE rolreplication AND NOT rolsuper ORDER BY 1;
