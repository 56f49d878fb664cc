"""Lost rows of a table without a key, told by their content: no more of one content come back than there were."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from runbook.postgres.connect import Connection
from runbook.recovery.ledger import Laid, Ledger
from runbook.recovery.rowstreams import batches, copy_rows
from runbook.recovery.tableshape import PLACE, TableShape, all_rows, hash_query, rows_query

#: So many rows of a table without a key are paired with what was written, with so few columns changed, in so many comparisons.
_PAIRED = 100_000
_MOST_COLUMNS = 3
_MOST_TRIED = 5_000_000


def content_of(cells: Sequence[str | None]) -> str:
    r"""Return the hash that `tableshape.content_hash` has for a row with these texts.

    >>> content_of(["a", None]) == hashlib.md5(b"(a,)").hexdigest(), content_of(["x y", ""]) == hashlib.md5(b'("x y","")').hexdigest()
    (True, True)
    """
    if not cells:
        return hashlib.md5(b"", usedforsecurity=False).hexdigest()
    text = "(" + ",".join(map(_quoted, cells)) + ")"
    return hashlib.md5(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


def _quoted(cell: str | None) -> str:
    if cell is None:
        return ""
    if cell and not any(letter in '"\\(), \t\n\v\f\r' for letter in cell):
        return cell
    return '"' + cell.replace("\\", "\\\\").replace('"', '""') + '"'


@dataclass(frozen=True)
class Altered:
    """Rows that were written and say something else than they should. `columns` is empty where it is not known which; `is_more`: there
    are more than `rows`."""

    columns: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    is_more: bool = False


def differing_columns(
    lost: Sequence[tuple[str | None, ...]], written: Sequence[tuple[str | None, ...]]
) -> tuple[int, ...] | None:
    """Return the smallest set of places without which every written row is one of the lost ones; None: there is none of so few columns.

    >>> differing_columns([("a", "1"), ("b", "1")], [("b", "2"), ("a", "2")]), differing_columns([("a", "1")], [("c", "2")])
    ((1,), None)
    """
    width = len(written[0])
    for size in range(1, min(width, _MOST_COLUMNS + 1)):
        if math.comb(width, size) * len(written) > _MOST_TRIED:
            return None
        for places in itertools.combinations(range(width), size):
            stays = [place for place in range(width) if place not in places]
            there = Counter(tuple(cells[place] for place in stays) for cells in lost)
            there.subtract(Counter(tuple(cells[place] for place in stays) for cells in written))
            if all(number >= 0 for number in there.values()):
                return places
    return None


@dataclass(frozen=True)
class Contents:
    """The contents of one table's lost rows, over the columns `plain`, which stand at `places` in a row of the ledger."""

    ledger: Ledger
    number: int
    plain: list[str]
    places: list[int]
    then: TableShape
    now: TableShape
    encoding: str

    def _hash(self, row: Laid) -> str:
        return content_of([row.cells[place] for place in self.places])

    def count(self, restored: Connection, reader: Connection, reason: str) -> None:
        """Rows for which there is no room have this reason: as many are there as there were, less those that others deleted.

        Rows that are set back have their room already.
        """
        for page in self.ledger.pages(self.number, "what IN ('i', 'o') OR what = 'u' AND reason IS NULL"):
            self.ledger.do(
                "INSERT INTO content (t, hash, others) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET others = others + excluded.others",
                [(self.number, self._hash(row), row.what != "i") for row in page],
            )
        self._tally("past", restored, self.then)
        self._tally("there", reader, self.now)
        room = self._figures("past - others - there + replaced")
        self._take(room, reason, "i")

    def replace(self, contents: Sequence[Sequence[str | None]]) -> None:
        """Rows of production with these contents will be set back."""
        self.ledger.do(
            "INSERT INTO content (t, hash, replaced) VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET replaced = replaced + 1",
            [(self.number, content_of(cells)) for cells in contents],
        )

    def count_again(self, reader: Connection, kept: str, not_set_back: str, ours: set[str]) -> Altered:
        """After the commit: rows that are not in have that reason; those that are in with other values are counted by column.

        Args:
            ours: transactions (and their parts) that wrote.
        """
        before = self._figures("there - replaced")
        self._tally("there", reader, self.now)
        got = {hash_: number - before[hash_] for hash_, number in self._figures("there").items()}
        self._take(got, kept, "i")
        self._take(got, not_set_back, "u")
        if not self.ledger.count(
            self.number, "what = 'i' AND reason IS NOT NULL AND reason = '" + kept.replace("'", "''") + "'"
        ):
            return Altered()
        return self._find_altered(reader, kept, ours, before)

    def _find_altered(self, reader: Connection, kept: str, ours: set[str], known: Collection[str]) -> Altered:
        """Rows that we wrote with a content that none of the lost rows has: a trigger has changed them on their way.

        Rows are matched by the columns that were not changed: the smallest set of columns without which both sides agree.
        """
        places = [PLACE + self.now.columns.index(name) for name in self.plain]
        written: list[tuple[str | None, ...]] = []
        stream = all_rows(reader, self.now) if self.now.untrusted else copy_rows(reader, rows_query(self.now))
        for row in stream:
            cells = tuple(row[place] for place in places)
            if row[0] in ours and content_of(cells) not in known:
                written.append(cells)
                if len(written) > _PAIRED:
                    return Altered(rows=len(written), is_more=True)
        if not written:
            return Altered()
        left = [
            (row.n, tuple(row.cells[place] for place in self.places))
            for page in self.ledger.pages(self.number, "what = 'i' AND reason IS NOT NULL")
            for row in page
            if row.reason == kept
        ]
        columns = differing_columns([cells for _, cells in left], written)
        if columns is None:
            return Altered(rows=len(written))
        stays = [place for place in range(len(self.plain)) if place not in columns]
        wanted = Counter(tuple(cells[place] for place in stays) for cells in written)
        found = []
        for n, cells in left:
            rest = tuple(cells[place] for place in stays)
            if wanted[rest] > 0:
                wanted[rest] -= 1
                found.append((self.number, n))
        self.ledger.do("UPDATE row SET reason = NULL WHERE t = ? AND n = ?", found)
        return Altered({self.plain[place]: len(found) for place in columns}, len(found))

    def _figures(self, text: str) -> dict[str, int]:
        return {
            row[0]: row[1] for row in self.ledger.ask(f"SELECT hash, {text} FROM content WHERE t = ?", [self.number])
        }

    def _take(self, room: dict[str, int], reason: str, what: str) -> None:
        for page in self.ledger.pages(self.number, f"what = '{what}' AND reason IS NULL"):
            reasons = []
            for row in page:
                hash_ = self._hash(row)
                room[hash_] = room.get(hash_, 0) - 1
                if room[hash_] < 0:
                    reasons.append((row.n, reason))
            self.ledger.speak(self.number, reasons)

    def _tally(self, side: str, connection: Connection, shape: TableShape) -> None:
        """How often each of the lost contents stands in the table."""
        self.ledger.do(f"UPDATE content SET {side} = 0 WHERE t = ?", [(self.number,)])
        counted: Iterator[tuple[str | None, int]]
        if shape.untrusted is None and self.encoding == "UTF8":
            counted = ((row[0], int(row[1] or 0)) for row in copy_rows(connection, hash_query(shape, self.plain)))
        else:
            places = [PLACE + shape.columns.index(name) for name in self.plain]
            stream = all_rows(connection, shape) if shape.untrusted else copy_rows(connection, rows_query(shape))
            counted = ((content_of([row[place] for place in places]), 1) for row in stream)
        for part in batches(counted):
            self.ledger.do(
                f"UPDATE content SET {side} = {side} + ? WHERE t = ? AND hash = ?",
                [(number, self.number, hash_) for hash_, number in part],
            )
