"""The index pages of an archive, rebuilt in full: the same bytes for the same records, whatever stood there before.

    reports/index.html   the first page
    reports/index/       by month, runbook, target and control; records.csv and .json, and those of each page

They repeat what the records say and prove nothing: records are signed, pages are not.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from runbook import layout
from runbook.archive.tree import Tree
from runbook.errors import OperatorError, PlatformError
from runbook.index import data
from runbook.index.pages import collections
from runbook.index.population import Control, proven
from runbook.index.render import Archive, collection_page, front_page, part_page
from runbook.index.rows import UNREADABLE, Row, read_rows

FRONT, FOLDER = "index.html", "index"


@dataclass(frozen=True)
class Built:
    """What was built."""

    front: Path
    records: int
    unreadable: int
    pages: int


def build_index(controls: Sequence[Control] = (), as_of: datetime | None = None) -> Built:
    """The pages of this home's archive are there. Safe twice, and safe beside another builder.

    Args:
        controls: what was due for each control; without it the pages say that nobody counted.
        as_of: the moment it was counted at.

    Raises:
        OperatorError: the archive is an export, whose index is part of what was handed on.
        PlatformError: the pages cannot be written.
    """
    tree = Tree.own()
    if tree.export.exists():
        raise OperatorError("This is an export; it has its own index.", next="runbook archive verify")
    try:
        tree.root.mkdir(parents=True, exist_ok=True)
        with _alone(tree):
            rows = read_rows(tree)
            pages = 0
            wanted = {FRONT}
            for name, content in files_of(rows, controls, as_of):
                _replace(tree.root / name, content)
                wanted.add(name)
                pages += name.endswith(".html")
            _remove_others(tree.root, wanted)
    except OSError as cause:
        raise PlatformError(
            f"The index pages could not be written to {layout.short(tree.root)}: {cause.strerror or cause}.",
            next="Make room or mend the folder, then: runbook archive index",
        ) from cause
    unreadable = sum(row.verdict == UNREADABLE for row in rows)
    return Built(tree.root / FRONT, len(rows), unreadable, pages)


def files_of(rows: Sequence[Row], controls: Sequence[Control], as_of: datetime | None) -> Iterator[tuple[str, bytes]]:
    """Every file below the archive's folder and its content; the first page last, when all that it leads to is there."""
    records = {row.name: row for row in rows}
    counted = [(control, proven(control, records)) for control in controls]
    due = {control.id: periods for control, periods in counted}
    found = collections(rows, [control.id for control in controls])
    archive = Archive(rows, counted, as_of, found)
    fields = {row.number: data.fields_of(row) for row in rows}
    lines = {number: (data.csv_line(one), data.json_line(one)) for number, one in fields.items()}

    def tables(name: str, chosen: Sequence[Row]) -> Iterator[tuple[str, bytes]]:
        yield f"{name}.csv", data.csv_table(data.COLUMNS, [lines[row.number][0] for row in chosen])
        yield f"{name}.json", data.json_list([lines[row.number][1] for row in chosen])

    for one in found:
        path = f"{FOLDER}/{one.address}"
        yield f"{path}.html", collection_page(archive, one).encode()
        yield from tables(path, [line.row for line in reversed(one.lines)])
        for part in one.parts():
            yield f"{FOLDER}/{part.address}.html", part_page(archive, one, part).encode()
        if one.kind == "Control" and one.name in due:
            periods = [data.fields_of_due(period) for period in due[one.name]]
            yield f"{path}.due.csv", data.csv_table(data.DUE_COLUMNS, [data.csv_line(period) for period in periods])
            yield f"{path}.due.json", data.json_list([data.json_line(period) for period in periods])
    yield from tables(f"{FOLDER}/records", rows)
    yield FRONT, front_page(archive).encode()


@contextmanager
def _alone(tree: Tree) -> Iterator[None]:
    descriptor = os.open(tree.root / ".index.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, content: bytes) -> None:
    """The file holds the content; one that does already is left alone. Not flushed: pages can be built again."""
    path.parent.mkdir(exist_ok=True)
    try:
        if path.stat().st_size == len(content) and path.read_bytes() == content and not path.is_symlink():
            return
    except OSError:
        pass
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.chmod(0o644)
    new.replace(path)


def _remove_others(root: Path, wanted: set[str]) -> None:
    """Pages of an earlier build that no record asks for any more are gone. The folder is ours alone."""
    for path in sorted((root / FOLDER).iterdir()):
        if f"{FOLDER}/{path.name}" not in wanted and not path.is_dir():
            path.unlink()
