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
-- columns: object text; value float8, share of 2^31 ids used; note text; change text; undo text
-- source: PostgreSQL 17, pg_database.datfrozenxid, datminmxid
SELECT format('database %I', d.datname) AS object,
       round(100.0 * greatest(age(d.datfrozenxid), mxid_age(d.datminmxid)) / 2147483647, 3)::float8 AS value,
       format('%s transactions and %s multixacts old; oldest xmin: %s', age(d.datfrozenxid), mxid_age(d.datminmxid),
              coalesce(h.holder, 'no holder seen')) AS note,
       'VACUUM (FREEZE, VERBOSE);' AS change,
       NULL::text AS undo
FROM pg_catalog.pg_database AS d
LEFT JOIN LATERAL (
  SELECT holder FROM (
    SELECT format('session %s of %I, age %s', a.pid, a.usename, age(a.backend_xmin)) AS holder, age(a.backend_xmin) AS old
    FROM pg_catalog.pg_stat_activity AS a WHERE a.backend_xmin IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
    UNION ALL
    SELECT format('replication slot %I, age %s', s.slot_name, greatest(age(s.xmin), age(s.catalog_xmin))),
           greatest(age(s.xmin), age(s.catalog_xmin))
    FROM pg_catalog.pg_replication_slots AS s WHERE coalesce(s.xmin, s.catalog_xmin) IS NOT NULL
    UNION ALL
    SELECT format('prepared transaction %L, age %s', p.gid, age(p.transaction)), age(p.transaction)
    FROM pg_catalog.pg_prepared_xacts AS p
  ) AS holders ORDER BY old DESC LIMIT 1
) AS h ON true
ORDER BY 2 DESC;
