"""Relation names read from the files of a base backup: from before the damage, without starting anything.

Every version of a row that lies in the pages is a fact (that file had that name), so visibility is only needed to prefer the newest name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from runbook.postgres.wal import PAGE
from runbook.recovery.catalogrows import (
    NAMED,
    PG_CLASS,
    PG_DATABASE,
    PG_INHERITS,
    PG_NAMESPACE,
    TRANSIENT,
    Version,
    class_row,
    inherits_row,
    named_row,
    page_versions,
    read_map,
    root_of,
)
from runbook.recovery.relnames import RelationName
from runbook.recovery.transactions import RelFile

SOURCE = "the base backup's files"
_PAGES_A_FILE = (1 << 30) // PAGE


@dataclass
class BackupNames:
    """What a backup's catalogs name. `schemas` are names of schemas by (database, oid)."""

    names: list[RelationName] = field(default_factory=list)
    schemas: dict[tuple[int, int], str] = field(default_factory=dict)


def read_backup_names(backup: Path, major: int) -> list[RelationName]:
    """Return the names in a plain base backup (or a stopped data directory); empty when it is not laid out so (a tar backup)."""
    return read_backup_catalogs(backup, major).names


def read_backup_catalogs(backup: Path, major: int) -> BackupNames:
    """Return what the catalogs in a plain base backup name; nothing when it is not laid out so (a tar backup).

    Args:
        major: PostgreSQL's major version, 14 to 18.
    """
    found = BackupNames()
    shared = _read_map(backup / "global" / "pg_filenode.map")
    names = {}
    for version in _versions(backup / "global" / str(shared.get(PG_DATABASE, PG_DATABASE))):
        number, name = named_row(version.row)
        if version.is_live or number not in names:
            names[number] = name
    for database, name in sorted(names.items()):
        folder = backup / "base" / str(database)
        if not folder.is_dir():
            folder = next(iter(backup.glob(f"pg_tblspc/*/PG_*/{database}")), folder)
        if folder.is_dir():
            _read_database(found, folder, database, name, major)
    return found


def backup_page(backup: Path, file: RelFile, number: int) -> bytes | None:
    """Return a page of a relation as a plain backup has it; None where it has none."""
    if file.database == 0:
        folder = backup / "global"
    elif file.tablespace == 1663:
        folder = backup / "base" / str(file.database)
    else:
        folder = next(iter(backup.glob(f"pg_tblspc/{file.tablespace}/PG_*/{file.database}")), backup / "nowhere")
    part, within = divmod(number, _PAGES_A_FILE)
    path = folder / (f"{file.number}.{part}" if part else str(file.number))
    try:
        with path.open("rb") as content:
            content.seek(within * PAGE)
            page = content.read(PAGE)
    except OSError:
        return None  # a tar backup, or a relation that it does not have
    return page if len(page) == PAGE else None


def _read_database(found: BackupNames, folder: Path, database: int, database_name: str, major: int) -> None:
    mapped = _read_map(folder / "pg_filenode.map")
    default = 1663 if folder.parent.name == "base" else int(folder.parent.parent.name)
    classes = [
        (class_row(version.row, major, default, database, mapped), version.is_live)
        for version in _versions(_file(folder, mapped, PG_CLASS))
    ]
    classes.sort(
        key=lambda pair: not pair[1]
    )  # the newest versions first: a NameBook keeps what it hears first of a catalog
    # A catalog that was rewritten and is not in the map has its file's number in pg_class.
    for row, is_live in classes:
        if is_live and row.oid in (PG_NAMESPACE, PG_INHERITS) and row.file is not None:
            mapped[row.oid] = row.file.number
    schemas: dict[int, str] = {}
    for version in _versions(_file(folder, mapped, PG_NAMESPACE)):
        oid, name = named_row(version.row)
        if version.is_live or oid not in schemas:
            schemas[oid] = name
    parents = dict(
        inherits_row(version.row) for version in _versions(_file(folder, mapped, PG_INHERITS)) if version.is_live
    )
    toasts = {row.toast: row.oid for row, _ in classes if row.toast}
    partitioned = {row.oid for row, _ in classes if row.kind == "p"}
    found.schemas |= {(database, oid): name for oid, name in schemas.items()}
    found.names += [
        RelationName(
            database=database,
            database_name=database_name,
            oid=row.oid,
            schema=schemas.get(row.schema, f"schema {row.schema}"),
            name=row.name,
            kind=row.kind,
            file=row.file,
            estimated_rows=row.estimated_rows,
            owner_oid=toasts.get(row.oid) if row.kind == "t" else None,
            root_oid=root_of(row.oid, parents, partitioned),
            source=SOURCE,
            columns=row.columns if is_live else None,
        )
        for row, is_live in classes
        if row.kind in NAMED
        and row.persistence != "t"
        and not row.is_shared
        # A rewrite under way: its transient relation's row has the table's old file.
        and (is_live or not row.name.startswith(TRANSIENT))
    ]


def _file(folder: Path, mapped: dict[int, int], oid: int) -> Path:
    return folder / str(mapped.get(oid, oid))


def _read_map(path: Path) -> dict[int, int]:
    return read_map(path.read_bytes()) if path.is_file() else {}


def _versions(path: Path) -> Iterator[Version]:
    """Every row version in a heap file that was not rolled back."""
    part = 0
    while (file := path if part == 0 else path.with_name(f"{path.name}.{part}")).is_file():
        content = file.read_bytes()
        for begin in range(0, len(content) - PAGE + 1, PAGE):
            for _, version in page_versions(content[begin : begin + PAGE]):
                if not version.is_dead:
                    yield version
        part += 1
