"""Generated transactions: good ones of an application and its administrators, and damaging ones in many mixes and orders."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from generated.tables import Table
from runbook.postgres.connect import quote


@dataclass
class Work:
    """One transaction. A statement that the server refuses is left out. `is_alone`: each statement on its own, such as VACUUM.

    A `prepared` one is prepared first; `meanwhile` runs before it is committed.
    """

    statements: list[str]
    is_damage: bool = False
    is_alone: bool = False
    prepared: bool = False
    meanwhile: list[Work] = field(default_factory=list)
    #: Tried one after the other where nothing of this one is possible.
    instead: list[Work] = field(default_factory=list)

    def text(self) -> str:
        lines = self.statements if self.is_alone else ["BEGIN", *self.statements]
        if self.prepared:
            lines = [*lines, "PREPARE TRANSACTION 'generated'"]
            for one in self.meanwhile:
                lines += one.text().splitlines()
            lines.append("COMMIT PREPARED 'generated'")
        elif not self.is_alone:
            lines = [*lines, "COMMIT"]
        return ("-- damage\n" if self.is_damage else "") + ";\n".join(lines) + ";"


def good_work(draw: Random, tables: list[Table], first: int) -> Work:
    """What others do all day; rows from number `first` on are new."""
    table = draw.choice(tables)
    low = draw.randint(1, max(1, table.rows))
    one = draw.choice([column for column in table.columns if column.is_given])
    picked = draw.random()
    if picked < 0.35:
        return Work([table.fill(first, first + draw.choice((0, 4, 30)))])
    if picked < 0.6:
        return Work(
            [
                f"UPDATE {table.sql} SET {quote(one.name)} = {one.other or quote(one.name)} WHERE {table.some(low, low + 2)}"
            ]
        )
    if picked < 0.75:
        return Work([f"DELETE FROM {table.sql} WHERE {table.some(low, low + 1)}"])
    if picked < 0.85:
        return Work(
            [draw.choice((f"VACUUM {table.sql}", f"ANALYZE {table.sql}", f"VACUUM FULL {table.sql}", "CHECKPOINT"))],
            is_alone=True,
        )
    if picked < 0.93:
        name = f"public.new_{first}"
        return Work([
            f"CREATE TABLE {name} (id int PRIMARY KEY, x text)",
            f"INSERT INTO {name} SELECT g, 'x' FROM generate_series(1, 20) AS g",
            *([f"TRUNCATE {name}", f"INSERT INTO {name} VALUES (1, 'y')"] if draw.random() < 0.5 else []),
        ])  # fmt: skip
    return Work([
        draw.choice((
            f"CREATE INDEX ON {table.sql} ({quote(table.columns[0].name)})",
            f"ALTER TABLE {table.sql} ADD COLUMN added_{first} text DEFAULT 'later'",
            f"REINDEX TABLE {table.sql}",
            f"COMMENT ON TABLE {table.sql} IS 'changed {first}'",
            f"GRANT SELECT ON {table.sql} TO PUBLIC",
        ))
    ])  # fmt: skip


def damaging_work(draw: Random, tables: list[Table]) -> Work:
    """One to four damages, at times in subtransactions that are rolled back, among statements that rewrite files."""
    statements: list[str] = []
    for number in range(draw.choice((1, 1, 1, 2, 2, 3, 4))):
        part = _damage(draw, tables)
        how = draw.random()
        if how < 0.15:
            statements += [f"SAVEPOINT s{number}", *_damage(draw, tables), f"ROLLBACK TO s{number}", *part]
        elif how < 0.3:
            statements += [f"SAVEPOINT s{number}", *part, f"RELEASE s{number}"]
        else:
            statements += part
        if draw.random() < 0.25:
            statements += _rewrite(draw, tables)
    is_prepared = draw.random() < 0.08
    return Work(statements, is_damage=True, prepared=is_prepared)


def _damage(draw: Random, tables: list[Table]) -> list[str]:
    table = draw.choice(tables)
    low = draw.randint(1, max(1, table.rows // 2))
    high = low + max(2, table.rows // 2)
    where = draw.choice(("", "", f" WHERE {table.some(low, high)}"))
    picked = draw.random()
    if picked < 0.28:
        return [f"DELETE FROM {table.sql}{where}"]
    if picked < 0.48:
        given = [column for column in table.columns if column.is_given and column.other]
        if not given:
            return [f"DELETE FROM {table.sql}{where}"]
        several = draw.sample(given, min(len(given), draw.choice((1, 1, 2))))
        sets = ", ".join(
            f"{quote(column.name)} = {column.other.replace('g +', quote(column.name) + ' +')}" for column in several
        )
        return [f"UPDATE {table.sql} SET {sets}{where}"]
    if picked < 0.66:
        target = draw.choice((table.sql, *table.partitions)) if draw.random() < 0.3 else table.sql
        return [f"TRUNCATE {target}{draw.choice(('', ' RESTART IDENTITY'))}{draw.choice(('', ' CASCADE', ' CASCADE'))}"]
    if picked < 0.88:
        target = draw.choice((table.sql, *table.partitions)) if draw.random() < 0.35 else table.sql
        return [f"DROP TABLE {target}{draw.choice(('', ' CASCADE', ' CASCADE'))}"]
    if picked < 0.93 and len(table.columns) > 2:
        return [
            f"ALTER TABLE {table.sql} DROP COLUMN {quote(draw.choice(table.columns[1:]).name)}{draw.choice(('', ' CASCADE'))}"
        ]
    if picked < 0.95 and table.partitions:
        return [f"ALTER TABLE {table.sql} DETACH PARTITION {table.partitions[0]}"]
    if picked < 0.97 and table.schema != "public":
        return [f"DROP SCHEMA {quote(table.schema)} CASCADE"]
    if picked < 0.98:
        return [draw.choice(("DROP TYPE kinds.mood CASCADE", "DROP DOMAIN kinds.plate CASCADE"))]
    return [f"DELETE FROM {table.sql}{where}", table.fill(1, max(1, table.rows // 3))]


def _rewrite(draw: Random, tables: list[Table]) -> list[str]:
    """Statements that give a relation a new file, or take a transient one, and lose no row."""
    table = draw.choice(tables)
    return [
        draw.choice((
            f"REINDEX TABLE {table.sql}",
            f"ALTER TABLE {table.sql} ALTER COLUMN {quote(table.columns[-1].name)} TYPE text",
            f"ALTER TABLE {table.sql} SET LOGGED",
            f"ALTER TABLE {table.sql} SET UNLOGGED",
            "CREATE TABLE public.short (id int); DROP TABLE public.short",
            "CREATE TEMPORARY TABLE t_short (id int) ON COMMIT DROP",
            f"ALTER TABLE {table.sql} ADD COLUMN filled timestamptz DEFAULT clock_timestamp()",
            "REFRESH MATERIALIZED VIEW public.mat_0",
            "REFRESH MATERIALIZED VIEW public.mat_1",
            "REFRESH MATERIALIZED VIEW public.mat_2",
        ))
    ]  # fmt: skip
