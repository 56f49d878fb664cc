"""Names that WAL tells: relations, schemas, databases and partitions, by the transactions that committed and by page images of catalogs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from runbook.recovery.catalogrows import NAMED, PG_CLASS, PG_NAMESPACE, TRANSIENT
from runbook.recovery.transactions import CatalogRow, CatalogStep, ChildRow, ClassRow, NamedRow, RelFile

#: More files are not remembered: a year of them would fill the memory. `is_full` says so.
MOST = 300_000
Oid = tuple[int, int]


@dataclass
class Chain:
    """What one transaction did to one relation's row in pg_class. `before` is its row as it was, `rows` those that were written since, in
    order; `path` the files that it had. `is_made`: by this transaction; `is_gone`: it was dropped by it; `has_gap`: a row in between was not read,
    so that `path` may lack files."""

    before: ClassRow | None = None
    rows: list[ClassRow] = field(default_factory=list)
    path: list[RelFile] = field(default_factory=list)
    is_made: bool = False
    is_gone: bool = False
    has_gap: bool = False

    @property
    def row(self) -> ClassRow | None:
        """As it was last."""
        return self.rows[-1] if self.rows else self.before

    def pass_by(self, row: ClassRow) -> None:
        """The relation had this row's file."""
        if row.file is not None and row.file not in self.path[-1:]:
            self.path.append(row.file)


def chains_of(steps: Iterable[CatalogStep]) -> dict[Oid, Chain]:
    """Return what a transaction did to each relation, from its rows of pg_class in the order of WAL; temporary ones are left out."""
    found: dict[Oid, Chain] = {}
    for step in steps:
        old, new = step.old, step.new
        row = new if isinstance(new, ClassRow) else old
        if step.catalog != PG_CLASS or not isinstance(row, ClassRow) or not _is_kept(row):
            continue
        chain = found.get((row.database, row.oid))
        if chain is None:
            chain = found[row.database, row.oid] = Chain(is_made=step.kind == "i")
            chain.before = old if isinstance(old, ClassRow) else None
        if isinstance(old, ClassRow):
            chain.has_gap = chain.has_gap or (bool(chain.path) and old.file not in (None, chain.path[-1]))
            chain.pass_by(old)
        if isinstance(new, ClassRow):
            chain.pass_by(new)
            chain.rows.append(new)
        chain.has_gap = chain.has_gap or (step.kind == "u" and (old is None or new is None))
        chain.is_gone = step.kind == "d"
    return found


def _is_kept(row: ClassRow) -> bool:
    return row.kind in NAMED and row.persistence != "t"


@dataclass
class Facts:
    """Names from one kind of source. `files` are rows by the files that the relations had or got, `classes` their last rows by (database,
    oid), `schemas` names by (database, oid), `parents` the tables that partitions are of."""

    files: dict[RelFile, ClassRow] = field(default_factory=dict)
    classes: dict[Oid, ClassRow] = field(default_factory=dict)
    schemas: dict[Oid, str] = field(default_factory=dict)
    databases: dict[int, str] = field(default_factory=dict)
    parents: dict[Oid, int] = field(default_factory=dict)


@dataclass
class WalNames(Facts):
    """What committed transactions have written. `images` is what page images hold besides: who wrote that, and when, is not known.

    `detached` are partitions that became tables of their own, `mapped` catalogs by file; `made` files that were made empty in the WAL that was read. `unread` counts rows of catalogs that could
    not be read; where it is 0, no change of a name or a file was missed.
    """

    images: Facts = field(default_factory=Facts)
    detached: set[Oid] = field(default_factory=set)
    mapped: dict[RelFile, int] = field(default_factory=dict)
    made: set[RelFile] = field(default_factory=set)
    unread: int = 0
    is_full: bool = False

    def see(self, catalog: int, database: int, row: CatalogRow | None, *, is_live: bool) -> None:
        """A page image holds the row."""
        seen = self.images
        if isinstance(row, ClassRow):
            if _is_kept(row) and not row.name.startswith(TRANSIENT) and self._has_room():
                seen.classes.setdefault((database, row.oid), row)
                if row.file is not None:
                    seen.files.setdefault(row.file, row)
        elif isinstance(row, ChildRow):
            if is_live:
                seen.parents.setdefault((database, row.child), row.parent)
        elif row is not None and catalog == PG_NAMESPACE:
            seen.schemas.setdefault((database, row.oid), row.name)
        elif row is not None:
            seen.databases.setdefault(row.oid, row.name)

    def take(self, steps: Sequence[CatalogStep], created: Iterable[RelFile], filled: Iterable[RelFile]) -> None:
        """A transaction has committed: what it wrote counts.

        Args:
            created, filled: files that it made, and those of them that got page images.
        """
        found = chains_of(steps)
        for oid, chain in found.items():
            if (chain.is_made and chain.is_gone) or not self._has_room():
                continue
            if chain.before is not None and chain.before.file is not None:
                self.files[chain.before.file] = chain.before
            for row in chain.rows:
                if row.file is not None:
                    self.files[row.file] = row
            if chain.row is not None:
                self.classes[oid] = chain.row
        for step in steps:
            self._take_other(step, found)
        if found:
            self.made.update(set(created) - set(filled))

    def _take_other(self, step: CatalogStep, found: dict[Oid, Chain]) -> None:
        old, new = step.old, step.new
        if isinstance(new, NamedRow) and step.catalog == PG_NAMESPACE:
            self.schemas[step.database, new.oid] = new.name
        elif isinstance(new, NamedRow):
            self.databases[new.oid] = new.name
        elif isinstance(new, ChildRow):
            self.parents[step.database, new.child] = new.parent
            self.detached.discard((step.database, new.child))
        elif isinstance(old, ChildRow) and new is None:
            child = (step.database, old.child)
            # A partition that is dropped was its table's to the end; one that is detached is a table of its own.
            if child in found and found[child].is_gone:
                self.parents.setdefault(child, old.parent)
            else:
                self.parents.pop(child, None)
                self.detached.add(child)

    def map_file(self, file: RelFile, catalog: int) -> None:
        """The map of catalogs says that this is the catalog's file."""
        self.mapped[file] = catalog

    def _has_room(self) -> bool:
        self.is_full = self.is_full or len(self.files) + len(self.images.files) >= MOST
        return not self.is_full
