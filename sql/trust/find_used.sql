-- purpose: what a header's line `uses` names, by the server's own reading of it
-- params: $1 text[], such as app.f(int), app.=(int, int), app.status
-- columns: text text; function bigint, operator bigint, type bigint: its oid; NULL where there is none of that kind
-- privilege: none
-- source: PostgreSQL 17, to_regprocedure, to_regoperator, to_regtype: they look names up, and call nothing
SELECT w.one AS text,
       CASE WHEN w.one LIKE '%)' AND w.one !~ '^[^(]*[-+*/<>=~!@#%^&|`?]\s*\(' THEN pg_catalog.to_regprocedure(w.one)::oid::bigint END AS function,
       CASE WHEN w.one LIKE '%)' AND w.one ~ '^[^(]*[-+*/<>=~!@#%^&|`?]\s*\(' THEN pg_catalog.to_regoperator(w.one)::oid::bigint END AS operator,
       CASE WHEN w.one NOT LIKE '%)' THEN pg_catalog.to_regtype(w.one)::oid::bigint END AS type
FROM unnest($1::text[]) AS w (one);
