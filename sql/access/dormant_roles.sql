-- purpose: every role that can log in is used
-- scope: cluster
-- unit: days without a statement
-- rank: 6
-- needs: pg_read_all_stats, extension:pg_stat_statements
-- threshold: dormant_role_days = 90 | PCI DSS 4.0, 8.2.6: inactive accounts are removed or disabled within 90 days
-- warning: dormant_role_days
-- why: nobody notices when a role that nobody uses is misused
-- next: ask its owner; take LOGIN away, and drop it later
-- columns: object text; value float8, days for which statements are counted; note text; change text; undo text; unmeasured text
-- source: PostgreSQL 17 keeps no last login: a role counts as used when it has a session now, or a statement since the counters began
WITH counted AS (
  SELECT extract(epoch FROM pg_catalog.now() - stats_reset)::float8 / 86400 AS days, dealloc FROM :pg_stat_statements.pg_stat_statements_info
)
SELECT format('%I', r.rolname) AS object, round(c.days::numeric, 1)::float8 AS value,
       'no session now, no statement since the counters began' AS note,
       format('ALTER ROLE %I NOLOGIN;', r.rolname) AS change, format('ALTER ROLE %I LOGIN;', r.rolname) AS undo,
       CASE WHEN c.dealloc > 0 THEN format('%s statements were evicted from pg_stat_statements: raise pg_stat_statements.max', c.dealloc)
            WHEN c.days < :'dormant_role_days' THEN format('statements are counted for %s of %s days only', round(c.days::numeric, 1), :'dormant_role_days')
            END AS unmeasured
FROM pg_catalog.pg_roles AS r CROSS JOIN counted AS c
WHERE r.rolcanlogin AND r.oid <> 10
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity AS a WHERE a.usesysid = r.oid)
  AND NOT EXISTS (SELECT FROM :pg_stat_statements.pg_stat_statements(false) AS s WHERE s.userid = r.oid)
ORDER BY 1;
