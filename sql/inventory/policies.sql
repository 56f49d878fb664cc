-- purpose: every row-level policy
-- scope: database
-- columns: item text; the others are facts
-- source: PostgreSQL 17, pg_policies
SELECT format('%I on %I.%I', policyname, schemaname, tablename) AS item, lower(permissive) AS kind, cmd AS command,
       (SELECT string_agg(CASE one WHEN 'public' THEN 'PUBLIC' ELSE format('%I', one) END, ', ' ORDER BY one) FROM unnest(roles) AS u (one)) AS roles,
       coalesce(qual, '') AS using, coalesce(with_check, '') AS with_check
FROM pg_catalog.pg_policies ORDER BY 1;
