-- purpose: a table's columns, and which of them identify a row: the primary key, else a unique index over columns that are never null
-- params: oid bigint
-- columns: name text; type text; key_position bigint (null: not in the key); is_generated bool (computed by the server); is_always bool
--   (an identity column that takes no value of ours in an UPDATE); is_builtin bool (a type of PostgreSQL's own, whose operators may be named)
-- privilege: none
-- source: PostgreSQL 17, pg_attribute, pg_index
SELECT a.attname AS name,
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
       k.position AS key_position,
       a.attgenerated <> '' AS is_generated,
       a.attidentity = 'a' AS is_always,
       a.atttypid < 16384 AND t.typtype IN ('b', 'r', 'm') AS is_builtin
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
LEFT JOIN (
    SELECT u.attnum, u.position
    FROM (
        SELECT i.indkey::int2[] AS columns, i.indnkeyatts AS used
        FROM pg_catalog.pg_index AS i
        WHERE i.indrelid = :oid::oid
          AND i.indisunique
          AND i.indisvalid
          AND i.indimmediate
          AND i.indpred IS NULL
          AND i.indexprs IS NULL
          AND NOT EXISTS (
              SELECT
              FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS c (attnum, position)
              JOIN pg_catalog.pg_attribute AS n ON n.attrelid = i.indrelid AND n.attnum = c.attnum
              WHERE c.position <= i.indnkeyatts AND NOT n.attnotnull
          )
        ORDER BY i.indisprimary DESC, i.indisreplident DESC, i.indexrelid
        LIMIT 1
    ) AS chosen
    CROSS JOIN LATERAL pg_catalog.unnest(chosen.columns) WITH ORDINALITY AS u (attnum, position)
    WHERE u.position <= chosen.used
) AS k ON k.attnum = a.attnum
WHERE a.attrelid = :oid::oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum;
