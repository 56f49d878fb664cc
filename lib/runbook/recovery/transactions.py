"""A transaction as WAL tells it: where its rows were, what happened to whole files, and when it committed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from runbook.postgres.wal import Commit

#: Relations below it came with initdb: catalogs. (After a VACUUM FULL of a catalog only its name tells.)
FIRST_NORMAL = 16384
#: Catalogs that hold a user's data: a large object is a row of pg_largeobject_metadata, its content are rows of pg_largeobject. By oid, which is
#: the number of their files too until somebody rewrites them.
LARGE_OBJECTS, LARGE_OBJECT_PAGES = 2995, 2613
USER_DATA = {LARGE_OBJECTS: "large objects", LARGE_OBJECT_PAGES: "pages of large objects"}
#: The catalog whose rows an ALTER TABLE of columns changes.
PG_ATTRIBUTE = 1249


class RelFile(NamedTuple):
    """A relation's file: the numbers of its tablespace, its database and itself."""

    tablespace: int
    database: int
    number: int

    def __str__(self) -> str:
        return f"{self.tablespace}/{self.database}/{self.number}"


def parse_relfile(text: bytes) -> RelFile:
    """From pg_waldump's block reference.

    >>> parse_relfile(b"1663/5/16384")
    RelFile(tablespace=1663, database=5, number=16384)
    """
    tablespace, database, number = text.split(b"/")
    return RelFile(int(tablespace), int(database), int(number))


def parse_path(text: bytes) -> RelFile | None:
    """From a path below the data directory; None for temporary relations and other forks than the main one.

    >>> parse_path(b"base/5/16384"), parse_path(b"pg_tblspc/16500/PG_17_202406281/5/16384")
    (RelFile(tablespace=1663, database=5, number=16384), RelFile(tablespace=16500, database=5, number=16384))
    >>> parse_path(b"base/5/t3_16500") is None, parse_path(b"base/5/16384_init") is None
    (True, True)
    """
    parts = text.split(b"/")
    if not parts[-1].isdigit():
        return None
    number = int(parts[-1])
    if parts[0] == b"global":
        return RelFile(1664, 0, number)
    if parts[0] == b"base":
        return RelFile(1663, int(parts[1]), number)
    return RelFile(int(parts[1]), int(parts[-2]), number)


@dataclass
class Rows:
    """Rows that were inserted, updated, deleted. `moved` went to another partition by an UPDATE: they live on there,
    where they count as inserted."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    moved: int = 0

    def add(self, other: Rows, times: int = 1) -> None:
        """The other's rows are counted too."""
        self.inserted += other.inserted * times
        self.updated += other.updated * times
        self.deleted += other.deleted * times
        self.moved += other.moved * times

    def __bool__(self) -> bool:
        return bool(self.inserted or self.updated or self.deleted or self.moved)


@dataclass(frozen=True)
class ClassRow:
    """A row of pg_class. `schema` and `toast` are oids; `file` is None where the relation has none, or one that pg_filenode.map names;
    `estimated_rows` is None where nobody counted."""

    database: int
    oid: int
    name: str
    schema: int
    kind: str
    persistence: str
    file: RelFile | None
    estimated_rows: float | None
    toast: int
    columns: int
    is_shared: bool = False


class NamedRow(NamedTuple):
    """A row of pg_namespace or pg_database."""

    oid: int
    name: str


class ChildRow(NamedTuple):
    """A row of pg_inherits."""

    child: int
    parent: int


CatalogRow = ClassRow | NamedRow | ChildRow


class CatalogStep(NamedTuple):
    """A row of a catalog that was inserted ("i"), updated ("u") or deleted ("d") at a position of WAL. `catalog` is its oid, `database` the
    one whose catalog it is. A row is None where there is none, or where WAL did not hold enough to read it."""

    position: int
    catalog: int
    database: int
    kind: str
    old: CatalogRow | None
    new: CatalogRow | None


@dataclass
class FileEvidence:
    """What a transaction did to whole files, as raw as WAL tells it. Oids are (database, oid).

    `removed` are the files that its commit unlinked, in the commit record's order; `created` those it made, in order;
    `filled` those of them that got page images (an index being built, a table being rewritten); `dropped_oids` the relations whose
    statistics it dropped (PostgreSQL 15 and later); `locked` the relations it locked exclusively; `truncated_oids` those that
    a TRUNCATE record names (wal_level = logical); `databases` those it dropped; `first_lock` where the first exclusive lock stands in WAL;
    `changed_columns` that it changed rows of pg_attribute, as its own parts `xids`; `emptied` files that were cut to no page in place;
    `catalog` the rows of pg_class, pg_namespace, pg_inherits and pg_database that it wrote, in the order of WAL.
    """

    removed: list[RelFile] = field(default_factory=list)
    created: list[RelFile] = field(default_factory=list)
    filled: set[RelFile] = field(default_factory=set)
    dropped_oids: list[tuple[int, int]] = field(default_factory=list)
    locked: set[tuple[int, int]] = field(default_factory=set)
    truncated_oids: list[tuple[int, int]] = field(default_factory=list)
    databases: list[int] = field(default_factory=list)
    first_lock: int | None = None
    changed_columns: bool = False
    xids: frozenset[int] = frozenset()
    emptied: set[RelFile] = field(default_factory=set)
    catalog: list[CatalogStep] = field(default_factory=list)

    def add(self, other: FileEvidence) -> None:
        """A subtransaction's evidence is its parent's."""
        self.created += other.created
        self.filled |= other.filled
        self.locked |= other.locked
        self.truncated_oids += other.truncated_oids
        self.databases += other.databases
        self.emptied |= other.emptied
        self.catalog = sorted([*self.catalog, *other.catalog], key=lambda step: step.position)
        self.note_lock(other.first_lock)

    def note_lock(self, position: int | None) -> None:
        """An exclusive lock was taken there."""
        if position is not None and (self.first_lock is None or position < self.first_lock):
            self.first_lock = position

    def __bool__(self) -> bool:
        return bool(self.removed or self.truncated_oids or self.databases or self.changed_columns)


@dataclass(frozen=True)
class Transaction:
    """A committed transaction. `before` is the commit ahead of it in WAL; `same_second` the number of other commits whose
    time shares its second (None: not counted); `is_whole` False when it may have begun before the WAL that was read. Of a prepared one,
    `prepared_at` is the position of its PREPARE TRANSACTION (None: before the WAL that was read).
    """

    commit: Commit
    before: Commit | None
    rows: dict[RelFile, Rows]
    files: FileEvidence | None = None
    subtransactions: int = 0
    is_prepared: bool = False
    is_whole: bool = True
    same_second: int | None = None
    prepared_at: int | None = None

    @property
    def xid(self) -> int:
        return self.commit.xid

    def returns_prepared(self, gate: int) -> bool:
        """True when a recovery to `gate` brings it back as a prepared transaction, which may still be committed."""
        return self.is_prepared and (self.prepared_at is None or self.prepared_at < gate)
