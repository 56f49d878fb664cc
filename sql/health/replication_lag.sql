-- purpose: every standby keeps up
-- scope: cluster
-- unit: MiB
-- rank: 2
-- needs: pg_read_all_stats
-- threshold: replication_lag_warning_mebibytes = 256 | judgement: who reads there reads old rows
-- threshold: replication_lag_critical_mebibytes = 4096 | judgement: a failover would lose or wait for that much
-- warning: replication_lag_warning_mebibytes
-- critical: replication_lag_critical_mebibytes
-- why: a failover loses what has not arrived and waits for what is not replayed; readers of the standby see old rows
-- next: look at the standby's log, its disk and the network; a long query there holds replay back
-- columns: object text; value float8, WAL written and not replayed there; note text; unmeasured text
-- source: PostgreSQL 17, pg_stat_replication; replay_lag stands still while replay does, so bytes are judged. pg_receivewal replays nothing
SELECT format('standby %s at %s', coalesce(nullif(application_name, ''), 'without a name'), coalesce(host(client_addr), 'a socket')) AS object,
       round(pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_receive_lsn()
                                             ELSE pg_catalog.pg_current_wal_lsn() END, replay_lsn) / 1048576.0, 1)::float8 AS value,
       format('%s, %s; last measured delay %s', state, sync_state, coalesce(replay_lag::text, 'none')) AS note,
       NULL::text AS unmeasured
FROM pg_catalog.pg_stat_replication
WHERE state IN ('streaming', 'catchup') AND replay_lsn IS NOT NULL
UNION ALL
SELECT 'this standby',
       CASE WHEN r.status = 'streaming' THEN round(pg_catalog.pg_wal_lsn_diff(
         coalesce(r.latest_end_lsn, r.flushed_lsn), pg_catalog.pg_last_wal_replay_lsn()) / 1048576.0, 1)::float8 END,
       format('last transaction replayed is of %s', pg_catalog.pg_last_xact_replay_timestamp()),
       CASE WHEN r.status IS DISTINCT FROM 'streaming' THEN 'it is not connected to its primary: how far that one is cannot be seen from here' END
FROM (SELECT 1) AS here LEFT JOIN pg_catalog.pg_stat_wal_receiver AS r ON true
WHERE pg_catalog.pg_is_in_recovery()
ORDER BY 2 DESC NULLS LAST, 1;
