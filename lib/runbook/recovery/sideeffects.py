"""What a promotion does besides discarding transactions: unlogged relations are empty, and indexes may follow another collation version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from runbook.errors import PlatformError
from runbook.postgres.connect import Connection, SqlError, quote, rows
from runbook.postgres.sqlfiles import load_sql

_KINDS = {"r": "table", "m": "materialized view", "S": "sequence"}
_SHOWN = 20


@dataclass
class SideEffects:
    """`emptied` are (database and relation, kind, rows in words), `collations` (database, collation, version made with, version here)."""

    emptied: list[tuple[str, str, str]] = field(default_factory=list)
    collations: list[tuple[str, str, str, str]] = field(default_factory=list)

    def emptied_words(self) -> list[str]:
        """For a plan and the top of a report.

        >>> SideEffects([("shop: public.cache", "table", "about 1,200 rows")]).emptied_words()
        ['Unlogged table shop: public.cache (about 1,200 rows) is empty after a recovery: its content is in no WAL']
        """
        said = [
            f"Unlogged {kind} {name} ({size}) is {'reset' if kind == 'sequence' else 'empty'} after a recovery: its content is in no WAL"
            for name, kind, size in self.emptied[:_SHOWN]
        ]
        more = len(self.emptied) - _SHOWN
        return [*said, *([f"{more:,} more unlogged relations are empty after a recovery"] if more > 0 else [])]

    def collation_words(self) -> list[str]:
        """One line a database: indexes made with another version may be in another order than this machine sorts."""
        found: dict[str, list[str]] = {}
        for database, name, made, here in self.collations:
            found.setdefault(database, []).append(f"{name} (made with {made}, here {here})")
        return [
            f"Database {database}: {len(names):,} collation{'s have' if len(names) > 1 else ' has'} another version here than when indexes were "
            f"made, first {names[0]}: REINDEX what uses {'them' if len(names) > 1 else 'it'}, then ALTER … REFRESH VERSION."
            for database, names in found.items()
        ]

    def rows(self) -> list[dict[str, str]]:
        """As the table of what comes back has them."""
        return [
            {
                "kind": f"unlogged {kind}",
                "object": name,
                "last": size,
                "now": "empty once promoted",
                "to do": "Fill it again.",
            }
            for name, kind, size in self.emptied
        ]


def read_side_effects(open_: Callable[[str], Connection]) -> tuple[SideEffects, list[str]]:
    """What a promotion of this copy does besides, and what could not be read.

    Args:
        open_: a connection to a database of the copy.
    """
    found, missed = SideEffects(), list[str]()
    with open_("postgres") as connection:
        databases = [
            row["name"] for row in rows(connection, load_sql("recovery/list_databases").text) if row["is_open"]
        ]
    for database in databases:
        try:
            with open_(database) as connection:
                for row in rows(connection, load_sql("recovery/list_emptied_relations").text):
                    count = row["estimated_rows"]
                    size = (
                        "never counted"
                        if count is None
                        else f"about {int(count):,} row{'' if int(count) == 1 else 's'}"
                    )
                    name = f"{database}: {quote(row['schema'])}.{quote(row['name'])}"
                    found.emptied.append((name, _KINDS[row["kind"]], size))
                if connection.info.server_version >= 150000:
                    for row in rows(connection, load_sql("recovery/list_collation_versions").text):
                        found.collations.append((database, row["name"], row["made_with"], row["here"]))
        except (PlatformError, SqlError) as problem:
            missed.append(f"unlogged relations and collations of {database}: {str(problem).strip()}")
    return found, missed
