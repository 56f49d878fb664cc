-- purpose: no database nears the wraparound of transaction ids
-- scope: cluster
-- unit: %
-- rank: 1
-- threshold: wraparound_warning_percent = 25 | judgement: autovacuum freezes at autovacuum_freeze_max_age, 10 % by default
-- threshold: wraparound_critical_percent = 50 | judgement: half of the ids that exist; PostgreSQL 17, 24.1.5 stops 3 million before the end
-- warning: wraparound_warning_percent
-- critical: wraparound_critical_percent
-- exhausts: 100
-- why: at the end the server refuses every command that writes
-- next: end what holds the oldest xmin, then VACUUM (FREEZE) the oldest tables
-- columns: object text; value float8, share of 2^31 ids used; note text; change text; undo text, none; run_in text
-- source: PostgreSQL 17, pg_database.datfrozenxid, datminmxid. A database whose DROP was cut short holds nothing back (vac_truncate_clog in
--   vacuum.c); one that nobody may enter is frozen by autovacuum alone. A VACUUM holds no other one back, whatever its backend_xmin is
SELECT format('database %I', d.datname) AS object,
       round(100.0 * greatest(age(d.datfrozenxid), mxid_age(d.datminmxid)) / 2147483647, 3)::float8 AS value,
       format('%s transactions and %s multixacts old; oldest xmin: %s', age(d.datfrozenxid), mxid_age(d.datminmxid),
              coalesce(h.holder, 'no holder seen')) AS note,
       CASE WHEN d.datallowconn THEN 'VACUUM (FREEZE, VERBOSE);' END AS change,
       NULL::text AS undo, d.datname::text AS run_in
FROM pg_catalog.pg_database AS d
LEFT JOIN LATERAL (
  SELECT holder FROM (
    SELECT format('session %s of %s, age %s', a.pid, coalesce(quote_ident(a.usename), a.backend_type), age(a.backend_xmin)) AS holder, age(a.backend_xmin) AS old
    FROM pg_catalog.pg_stat_activity AS a WHERE a.backend_xmin IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
      AND a.pid NOT IN (SELECT v.pid FROM pg_catalog.pg_stat_progress_vacuum AS v)
    UNION ALL
    SELECT format('replication slot %I, age %s', s.slot_name, greatest(age(s.xmin), age(s.catalog_xmin))),
           greatest(age(s.xmin), age(s.catalog_xmin))
    FROM pg_catalog.pg_replication_slots AS s WHERE coalesce(s.xmin, s.catalog_xmin) IS NOT NULL
    UNION ALL
    SELECT format('prepared transaction %L, age %s', p.gid, age(p.transaction)), age(p.transaction)
    FROM pg_catalog.pg_prepared_xacts AS p
  ) AS holders ORDER BY old DESC LIMIT 1
) AS h ON true
WHERE d.datconnlimit <> -2
ORDER BY 2 DESC;
