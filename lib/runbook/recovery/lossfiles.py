"""Loss files: one CSV a table and a manifest, for people who work through them and for programs.

CSV as PostgreSQL's COPY reads it: UTF-8, every value in quotes, NULL an empty field without quotes. Files are private to their owner
and appear whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from runbook import clock
from runbook.errors import PlatformError
from runbook.recovery.minimising import Minimiser

MANIFEST = "manifest.json"
#: Columns ahead of the table's own.
LEADING = ("_operation", "_by", "_transaction")


def csv_line(values: Sequence[str | None]) -> bytes:
    r"""One line; NULL is nothing, an empty text is two quotes.

    >>> csv_line(["a\"b", None, "", "two\nlines"])
    b'"a""b",,"","two\nlines"\n'
    """
    cells = ("" if value is None else '"' + value.replace('"', '""') + '"' for value in values)
    return (",".join(cells) + "\n").encode("utf-8", "surrogateescape")


def file_name(*parts: str) -> str:
    """A file's name from a database, a schema and a table; different ones never meet.

    >>> file_name("shop", "public", "vehicles"), file_name("shop", "public", "Order/Lines")[:24]
    ('shop.public.vehicles.csv', 'shop.public.Order_Lines-')
    """
    plain = [re.sub(r"[^A-Za-z0-9_-]", "_", part)[:60] for part in parts]
    same = all(part == text and part == text.lower() for part, text in zip(plain, parts, strict=True))
    mark = "" if same else "-" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
    return ".".join(plain) + mark + ".csv"


@dataclass
class Written:
    """One finished file. `operations` counts rows by operation, then by whose they are."""

    file: str
    sha256: str
    bytes: int
    rows: int
    operations: dict[str, dict[str, int]]
    columns: dict[str, str]


class TableFile:
    """A table's CSV while it is written; leaving the block without an error publishes it, if it has a row.

    Raises:
        PlatformError: the disk is full, or the folder cannot be written.
    """

    def __init__(
        self, folder: Path, database: str, schema: str, table: str, columns: Sequence[str], minimiser: Minimiser
    ) -> None:
        self.path = folder / file_name(database, schema, table)
        self._part = self.path.with_name(f".{self.path.name}.part")
        self._minimiser = minimiser
        self.columns = {name: minimiser.treatment(schema, table, name) for name in columns}
        self._kept = [(place, name, how) for place, (name, how) in enumerate(self.columns.items()) if how != "drop"]
        self._digest = hashlib.sha256()
        self._bytes = self._rows = 0
        self._operations: dict[str, dict[str, int]] = {}
        self.written: Written | None = None

    def __enter__(self) -> TableFile:
        self._part.unlink(missing_ok=True)
        try:
            handle = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as cause:
            raise _unwritable(self.path, cause) from cause
        self._file: BinaryIO = os.fdopen(handle, "wb", buffering=1 << 20)
        self._put(csv_line([*LEADING, *(name for _, name, _ in self._kept)]))
        return self

    def _put(self, line: bytes) -> None:
        self._digest.update(line)
        self._bytes += len(line)
        try:
            self._file.write(line)
        except OSError as cause:
            raise _unwritable(self.path, cause) from cause

    def add(self, operation: str, by: str, transaction: str | None, values: Sequence[str | None]) -> None:
        """One row, minimised.

        Args:
            operation: inserted, updated_new, updated_old, deleted, written.
            by: other, damage, or unknown.
            values: in the order of the columns.
        """
        treat = self._minimiser.treat
        self._put(
            csv_line(
                [operation, by, transaction, *(treat(values[place], how, name) for place, name, how in self._kept)]
            )
        )
        self._rows += 1
        counts = self._operations.setdefault(operation, {})
        counts[by] = counts.get(by, 0) + 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._rows:
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError as cause:
            raise _unwritable(self.path, cause) from cause
        finally:
            with suppress(OSError):  # a full disk was said above; what could not be flushed is thrown away
                self._file.close()
            if kind is not None or not self._rows:
                self._part.unlink(missing_ok=True)
        if kind is not None:
            return
        if self._rows:
            self._part.replace(self.path)
        self.written = Written(
            self.path.name, self._digest.hexdigest(), self._bytes, self._rows, self._operations, dict(self.columns)
        )


def _unwritable(path: Path, cause: OSError) -> PlatformError:
    return PlatformError(
        f"The loss file {path} cannot be written: {cause.strerror}.",
        next="Make room, or name another folder; then run the step again.",
    )


@dataclass
class LossFiles:
    """A folder of loss files. `entries` are the manifest's tables."""

    folder: Path
    minimiser: Minimiser
    entries: list[dict[str, Any]] = field(default_factory=list)

    def prepare(self) -> None:
        """The folder is there, closed to others, and holds nothing of an earlier attempt.

        Raises:
            PlatformError: it cannot be made.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            for old in [*self.folder.glob("*.csv"), *self.folder.glob(".*.part"), self.folder / MANIFEST]:
                old.unlink(missing_ok=True)
        except OSError as cause:
            raise _unwritable(self.folder, cause) from cause

    def are_there(self) -> bool:
        """True when the folder holds a manifest, and every file that it names, each as long as it says."""
        try:
            content = json.loads((self.folder / MANIFEST).read_text("utf-8"))
            named = [entry for entry in content["files"] if entry["file"] is not None]
            return all((self.folder / entry["file"]).stat().st_size == entry["bytes"] for entry in named)
        except FileNotFoundError:
            return False
        except OSError as cause:
            raise _unwritable(self.folder, cause) from cause

    def open_table(self, database: str, schema: str, table: str, columns: Sequence[str]) -> TableFile:
        """The table's CSV, to be used in a with block."""
        return TableFile(self.folder, database, schema, table, columns, self.minimiser)

    def finish(self, facts: dict[str, Any]) -> Path:
        """The manifest lies beside the files; it is written last."""
        content = {
            "format": "runbook.loss/1",
            "csv": "UTF-8, values quoted, NULL an empty field without quotes; _by tells the damage's rows from others'",
            "written_at": clock.stamp(clock.now()),
            **facts,
            "files": self.entries,
            "rules that met no column": self.minimiser.unused,
        }
        path = self.folder / MANIFEST
        part = path.with_name(f".{MANIFEST}.part")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                file.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as cause:
            raise _unwritable(path, cause) from cause
        return path
