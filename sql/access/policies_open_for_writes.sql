-- purpose: no policy lets every row be written
-- scope: database
-- unit: of 2
-- rank: 2
-- threshold: open_policy_warning = 1 | judgement: a named role may be trusted with every row, somebody should have said so
-- threshold: open_policy_critical = 2 | judgement: PUBLIC, anon and authenticated are everybody
-- warning: open_policy_warning
-- critical: open_policy_critical
-- why: USING (true) and WITH CHECK (true) are row-level security that keeps nothing; 1 for named roles, 2 for everybody
-- next: name the condition by which a row belongs to who writes it
-- columns: object text; value float8; note text
-- source: PostgreSQL 17, CREATE POLICY: without WITH CHECK, USING is what rows are checked by
SELECT format('%I on %I.%I', policyname, schemaname, tablename) AS object,
       (CASE WHEN roles && '{public,anon,authenticated}'::name[] THEN 2 ELSE 1 END)::float8 AS value,
       format('%s for %s: USING (%s)%s', cmd, array_to_string(roles, ', '), coalesce(qual, '-'), coalesce(format(' WITH CHECK (%s)', with_check), '')) AS note
FROM pg_catalog.pg_policies
WHERE permissive = 'PERMISSIVE' AND cmd IN ('ALL', 'INSERT', 'UPDATE', 'DELETE')
  AND ((cmd <> 'INSERT' AND qual = 'true') OR (cmd <> 'DELETE' AND coalesce(with_check, qual) = 'true'))
ORDER BY 2 DESC, 1;
