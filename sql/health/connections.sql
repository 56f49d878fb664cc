-- purpose: connections are left for clients
-- scope: cluster
-- unit: %
-- rank: 2
-- needs: pg_read_all_stats
-- threshold: connections_warning_percent = 80 | judgement: room for a burst
-- threshold: connections_critical_percent = 95 | judgement: the next burst is refused
-- warning: connections_warning_percent
-- critical: connections_critical_percent
-- why: behind the limit every new client is refused
-- next: look for sessions that are idle; put a pooler before the server rather than raise the limit
-- columns: object text; value float8, share of the limit in use; note text
-- source: PostgreSQL 17, pg_stat_activity, pg_settings, pg_roles.rolconnlimit (no limit to a superuser), pg_database.datconnlimit
WITH used AS (
  SELECT datname, usename FROM pg_catalog.pg_stat_activity
  WHERE backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()
), limits AS (
  SELECT 'server' AS object, (SELECT count(*) FROM used) AS n,
         (SELECT sum(CASE name WHEN 'max_connections' THEN setting::int ELSE -setting::int END)
          FROM pg_catalog.pg_settings
          WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')) AS most
  UNION ALL
  SELECT format('database %I', datname), (SELECT count(*) FROM used WHERE used.datname = d.datname), datconnlimit
  FROM pg_catalog.pg_database AS d WHERE datconnlimit > 0
  UNION ALL
  SELECT format('role %I', rolname), (SELECT count(*) FROM used WHERE used.usename = r.rolname), rolconnlimit
  FROM pg_catalog.pg_roles AS r WHERE rolconnlimit > 0 AND rolcanlogin AND NOT rolsuper
)
SELECT object, round(100.0 * n / greatest(1, most), 1)::float8 AS value,
       format('%s of %s; clients behind a pooler are not counted', n, most) AS note
FROM limits ORDER BY 2 DESC;
