-- purpose: no role whose time is over can still log in
-- scope: cluster
-- unit: days past the end
-- rank: 3
-- any: warning
-- why: VALID UNTIL stops passwords only: by certificate, peer or trust the role still gets in
-- next: take LOGIN away, or drop the role
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, CREATE ROLE: VALID UNTIL
SELECT format('%I', rolname) AS object,
       round((extract(epoch FROM pg_catalog.now() - rolvaliduntil) / 86400)::numeric, 1)::float8 AS value,
       format('ended at %s', rolvaliduntil) AS note,
       format('ALTER ROLE %I NOLOGIN;', rolname) AS change, format('ALTER ROLE %I LOGIN;', rolname) AS undo
FROM pg_catalog.pg_roles
WHERE rolcanlogin AND rolvaliduntil > '-infinity' AND rolvaliduntil <= pg_catalog.now() ORDER BY 1;
