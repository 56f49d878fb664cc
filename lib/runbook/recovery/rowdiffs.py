"""Rows of two servers compared outside both of them, for tables on which no operator may be named or no statement be planned.

Streams in any order; what is held of a row is two hashes, in a file without a name that is gone once it is closed.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from runbook.recovery.rowstreams import Row

#: The text of each value, or None.
Cells = Sequence[str | None]


def digest(cells: Cells) -> bytes:
    r"""Return a hash of the texts; NULL is no text, and no two rows of texts look alike.

    >>> digest(["a", None]) != digest(["a", ""]), digest(["ab", "c"]) != digest(["a", "bc"])
    (True, True)
    """
    found = hashlib.blake2b(digest_size=16)
    for cell in cells:
        content = b"" if cell is None else cell.encode("utf-8", "surrogateescape")
        found.update(b"-" if cell is None else f"{len(content)}:".encode())
        found.update(content)
    return found.digest()


class RowDiffs:
    """Which rows stand on one side only, or differ. Feed both sides, then ask for each row of either side.

    Args:
        places: for the damaged server (True) and the restored copy (False): the places in a row of the key's columns (none: the whole
            content is the key), and of the columns compared.
    """

    def __init__(self, places: Mapping[bool, tuple[list[int], list[int]]]) -> None:
        self._places = dict(places)
        self._file = sqlite3.connect("", isolation_level=None)  # a file of its own that sqlite has removed already
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.execute(
            "CREATE TABLE seen (key BLOB PRIMARY KEY, now INT, past INT, now_content BLOB, past_content BLOB, writer TEXT) WITHOUT ROWID"
        )

    def close(self) -> None:
        """The file is gone."""
        self._file.close()

    def _digests(self, row: Row, is_now: bool) -> tuple[bytes, bytes | None]:
        """The key's hash; and the content's, when that is not the key itself."""
        key, common = self._places[is_now]
        content = digest([row[place] for place in common])
        return (digest([row[place] for place in key]), content) if key else (content, None)

    def feed(self, rows: Iterable[Row], *, is_now: bool) -> None:
        """Note the rows of the damaged server (`is_now`) or of the restored copy."""
        side = "now" if is_now else "past"
        statement = (
            f"INSERT INTO seen (key, now, past, {side}_content, writer) VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE "
            f"SET {side} = {side} + 1, {side}_content = excluded.{side}_content, writer = coalesce(excluded.writer, writer)"
        )
        counts = int(is_now), int(not is_now)
        digests = ((self._digests(row, is_now), row[0] if is_now else None) for row in rows)
        given = ((key, *counts, content, writer) for (key, content), writer in digests)
        self._file.execute("BEGIN")
        self._file.executemany(statement, given)
        self._file.execute("COMMIT")

    def judge(self, row: Row, *, is_now: bool) -> tuple[str | None, str | None]:
        """Return what the row is, and who wrote the present version where that is known: inserted, deleted, updated_old, updated_new;
        None for one that stands on both sides alike. Each row is asked for once."""
        key, content = self._digests(row, is_now)
        now, past, now_content, past_content, writer = self._file.execute(
            "SELECT now, past, now_content, past_content, writer FROM seen WHERE key = ?", [key]
        ).fetchone() or (0, 0, None, None, None)
        if content is not None:
            if not past or not now:
                return ("inserted" if is_now else "deleted"), writer
            if now_content == past_content:
                return None, writer
            return ("updated_new" if is_now else "updated_old"), writer
        more, fewer = (now, past) if is_now else (past, now)
        if more <= fewer:
            return None, None
        side = "now" if is_now else "past"
        self._file.execute(f"UPDATE seen SET {side} = {side} - 1 WHERE key = ?", [key])
        return ("inserted" if is_now else "deleted"), row[0] if is_now else None
