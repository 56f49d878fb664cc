"""Lost rows laid ready outside both servers, where what speaks against each of them is noted and looked up.

All is in a file without a name, which is gone once it is closed: memory stays flat, and no value of a row is left behind.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from runbook.recovery.lostrows import LostRow
from runbook.recovery.rowdiffs import Cells, digest

_PAGE = 1000


class Laid(NamedTuple):
    """A row as it lies there. `writer` is who wrote the row that stands in production under its key; `there` is that row's ctid, where only
    its place tells which it is."""

    n: int
    what: str
    place: str
    reason: str | None
    writer: str | None
    cells: tuple[str | None, ...]
    there: str | None = None


def _laid(row: tuple[Any, ...]) -> Laid:
    n, what, place, reason, writer, cells, there = row
    return Laid(n, what, place, reason, writer, tuple(json.loads(cells)), there)


class Ledger:
    """The rows of every table, by the table's number, and lists in which they are looked up by some of their values."""

    def __init__(self) -> None:
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.execute(
            "CREATE TABLE row (t INT, n INT, what TEXT, place TEXT, reason TEXT, writer TEXT, cells TEXT, found INT DEFAULT 0, there TEXT, PRIMARY KEY (t, n)) WITHOUT ROWID"
        )
        # Rows of table t, in list `name`, by the values' hash.
        self._file.execute("CREATE TABLE value (t INT, name TEXT, hash BLOB, n INT)")
        self._file.execute("CREATE INDEX value_hash ON value (t, name, hash)")
        self._file.execute(
            "CREATE TABLE content (t INT, hash TEXT, past INT DEFAULT 0, others INT DEFAULT 0, there INT DEFAULT 0, "
            "replaced INT DEFAULT 0, PRIMARY KEY (t, hash)) WITHOUT ROWID"
        )

    def close(self) -> None:
        """The file is gone."""
        self._file.close()

    def ask(self, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a statement of ours."""
        return self._file.execute(text, values).fetchall()

    def do(self, text: str, values: Iterable[Sequence[Any]]) -> None:
        """The statement has run for each of the values."""
        self._file.execute("BEGIN")
        self._file.executemany(text, values)
        self._file.execute("COMMIT")

    def lay(self, table: int, lost: Iterable[LostRow]) -> None:
        """The rows lie there, in their order."""
        given = (
            (table, n, row.what, row.place, row.reason, json.dumps(row.cells, separators=(",", ":")))
            for n, row in enumerate(lost)
        )
        self.do("INSERT INTO row (t, n, what, place, reason, cells) VALUES (?, ?, ?, ?, ?, ?)", given)

    def pages(self, table: int, where: str = "true") -> Iterator[list[Laid]]:
        """A thousand rows at a time, in order; their reasons may be set between two pages."""
        last = -1
        while True:
            found = self.ask(
                f"SELECT n, what, place, reason, writer, cells, there FROM row WHERE t = ? AND n > ? AND ({where}) ORDER BY n LIMIT {_PAGE}",
                [table, last],
            )
            if not found:
                return
            last = found[-1][0]
            yield [_laid(row) for row in found]

    def get(self, table: int, numbers: Sequence[int]) -> list[Laid]:
        """These rows."""
        query = "SELECT n, what, place, reason, writer, cells, there FROM row WHERE t = ? AND n = ?"
        return [_laid(row) for n in numbers for row in self.ask(query, [table, n])]

    def speak(self, table: int, reasons: Iterable[tuple[int, str]]) -> None:
        """Each of these rows has its reason."""
        self.do("UPDATE row SET reason = ? WHERE t = ? AND n = ?", [(reason, table, n) for n, reason in reasons])

    def count(self, table: int, where: str) -> int:
        """How many rows."""
        return int(self.ask(f"SELECT count(*) FROM row WHERE t = ? AND ({where})", [table])[0][0])

    # -- looking up

    def list_by(self, table: int, name: str, places: Sequence[int], where: str) -> None:
        """The rows stand in the list under their values at these places; those with a NULL among them do not."""
        for page in self.pages(table, where):
            given = [(row.n, [row.cells[place] for place in places]) for row in page]
            self.do(
                "INSERT INTO value (t, name, hash, n) VALUES (?, ?, ?, ?)",
                [(table, name, digest(cells), n) for n, cells in given if None not in cells],
            )

    def listed(self, table: int, name: str, cells: Cells) -> list[int]:
        """The rows with these values."""
        return [
            row[0]
            for row in self.ask(
                "SELECT n FROM value WHERE t = ? AND name = ? AND hash = ?", [table, name, digest(cells)]
            )
        ]
