"""A schema of many relations, as an application has them: keys that refer to each other, indexes of several kinds, identity columns and serials,
triggers, policies, partitions, materialized views. The same for the same numbers."""

from __future__ import annotations

from collections.abc import Iterator

#: Tables that one application of the generator has, its partitions counted.
TABLES = 52
_PARTITIONS = 12


def applications(relations: int, rows: int) -> Iterator[list[str]]:
    """Yield the statements of each application, so many that there are at least so many tables, which hold about so many rows in all."""
    count = -(-relations // TABLES)
    for number in range(count):
        yield application(f"app_{number}", max(1, rows // (count * TABLES)))


def application(schema: str, rows: int) -> list[str]:
    """The statements that make one application's schema, its rows included."""
    made = [
        f"CREATE SCHEMA {schema}",
        f"CREATE TYPE {schema}.state AS ENUM ('new', 'open', 'closed')",
        f"CREATE FUNCTION {schema}.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.changed_at := now(); RETURN NEW; END'",
        f"CREATE FUNCTION {schema}.plain(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT pg_catalog.lower($1)'",
    ]
    plain = TABLES - _PARTITIONS - 2
    for number in range(plain):
        parent = f"{schema}.t{number // 2}" if number else None
        name = f"{schema}.t{number}"
        key = "bigint GENERATED ALWAYS AS IDENTITY" if number % 2 else "bigserial"
        made += [
            f"CREATE TABLE {name} (id {key} PRIMARY KEY, parent_id bigint{f' REFERENCES {parent} ON DELETE CASCADE' if parent else ''}, "
            "name text NOT NULL, title varchar(200), note text, amount numeric(12, 2), is_open boolean NOT NULL DEFAULT true, "
            f"state {schema}.state NOT NULL DEFAULT 'new', tags text[], extra jsonb, made_at timestamptz NOT NULL DEFAULT now(), "
            "changed_at timestamptz, size int CHECK (size >= 0), total bigint GENERATED ALWAYS AS (size * 2) STORED)",
            f"CREATE INDEX ON {name} (parent_id)",
            f"CREATE INDEX ON {name} (made_at) WHERE is_open",
            f"CREATE INDEX ON {name} (lower(name))",
        ]
        made += [f"CREATE INDEX ON {name} USING gin (extra)"] if number % 10 == 3 else []
        made += [f"CREATE INDEX ON {name} ({schema}.plain(title))"] if number % 20 == 7 else []
        if number % 3 == 0:
            made.append(f"CREATE TRIGGER touch BEFORE UPDATE ON {name} FOR EACH ROW EXECUTE FUNCTION {schema}.touch()")
        if number % 4 == 0:
            made += [
                f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
                f"CREATE POLICY own ON {name} USING (is_open)",
            ]
        made.append(
            f"INSERT INTO {name} (parent_id, name, title, note, amount, tags, extra, size) SELECT {'i' if parent else 'NULL'}, 'name ' || i, "
            f"'title ' || i, repeat('note ', i % 20), i * 1.5, ARRAY['a', i::text], jsonb_build_object('i', i), i "
            f"FROM generate_series(1, {rows}) AS i"
        )
    made += [
        f"CREATE TABLE {schema}.event (id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL, what text, PRIMARY KEY (id, at)) "
        "PARTITION BY RANGE (at)",
        f"CREATE INDEX ON {schema}.event (what)",
        *(
            f"CREATE TABLE {schema}.event_{month} PARTITION OF {schema}.event FOR VALUES FROM ('2025-{month:02}-01') TO "
            f"('{'2026-01' if month == 12 else f'2025-{month + 1:02}'}-01')"
            for month in range(1, _PARTITIONS + 1)
        ),
        f"INSERT INTO {schema}.event (at, what) SELECT timestamptz '2025-01-01' + i * interval '364 days' / {rows * _PARTITIONS}, 'what ' || i "
        f"FROM generate_series(1, {rows * _PARTITIONS}) AS i",
        f"CREATE UNLOGGED TABLE {schema}.cache (k text PRIMARY KEY, v text)",
        f"CREATE VIEW {schema}.opened AS SELECT id, name FROM {schema}.t0 WHERE is_open",
        f"CREATE MATERIALIZED VIEW {schema}.summary AS SELECT state, count(*) AS n FROM {schema}.t1 GROUP BY state",
    ]
    return made
