"""The catalogs of the restored copy against those of production: which rows are gone or say something else, and whose doing that is.

All catalogs are compared, not a list of kinds of objects. The copy is a physical one, so a row that nobody touched is stored alike on both
sides, under the same OID; those that are not are identified by names, since what was made again has other OIDs. Whose doing a difference is,
WAL says: the catalogs' own rows have a place as any table's have (`deletions`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace

from runbook.postgres.connect import Connection, SqlError, literal, rows
from runbook.postgres.sqlfiles import load_sql
from runbook.recovery.catalogcolumns import USUAL_GRANTS, read_columns
from runbook.recovery.deletions import FileKey, RowFates

#: Whose doing a difference is. LATER: the damage changed it, and others have since, or had before.
DAMAGE, OTHERS, MIXED, UNKNOWN = "damage", "others", "mixed", "unknown"

#: How pg_catalog calls what belongs to the server itself, or to a session.
_NOT_OURS = re.compile(r"pg_toast\.|pg_toast_temp_\d+\.|pg_temp_\d+\.|(.* on )?pg_temp_\d+\.|(.* on )?pg_toast\.")

#: The files of catalogs, by name.
_FILES = (
    "SELECT c.relname::text AS name, pg_catalog.pg_relation_filenode(c.oid)::bigint AS file FROM pg_catalog.pg_class AS c "
    "WHERE c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND c.relname = ANY ($1::text[])"
)

#: Columns with the table that a row belongs to.
_TABLE_OF = frozenset(
    ["attrelid", "adrelid", "conrelid", "tgrelid", "polrelid", "ev_class", "indrelid", "indexrelid", "seqrelid", "stxrelid", "partrelid", "prrelid"]
)  # fmt: skip


@dataclass(frozen=True)
class CatalogRow:
    """One row of a catalog, told by names. `about` is its own object (class, OID), or the one that it belongs to."""

    catalog: str
    kind: str
    name: str
    about: tuple[int, int]
    is_object: bool
    cells: dict[str, str | None]
    reads: tuple[int, ...] = ()
    is_internal: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """By which it is the same row on both sides."""
        return self.catalog, self.kind, self.name


@dataclass(frozen=True)
class Difference:
    """A row of the copy that production has not (`now` None), or that says something else there; or (`then` None) a new one."""

    then: CatalogRow | None
    now: CatalogRow | None
    whose: str

    @property
    def row(self) -> CatalogRow:
        found = self.then or self.now
        assert found is not None
        return found

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that say something else."""
        if self.then is None or self.now is None:
            return ()
        # Of a row that is the same one, the table may have another name.
        follows = _TABLE_OF if self.then.about == self.now.about else frozenset[str]()
        told = self.then.cells.items()
        return tuple(
            name
            for name, cell in told
            if self.now.cells.get(name) != cell and name != USUAL_GRANTS and name not in follows
        )


@dataclass
class Comparison:
    """The catalogs of one database on both sides. `copy` does not change; `damage_files` are those that the damage's rows are in."""

    copy: Connection
    production: Connection
    fates: RowFates | None
    damage_files: frozenset[FileKey]
    damage_xids: Container[int]
    other_xids: Container[int]
    with_shared: bool = False

    def __post_init__(self) -> None:
        self._catalogs = read_columns(self.copy, with_shared=self.with_shared)
        here = {row["name"]: row["file"] for row in rows(self.production, _FILES, [list(self._catalogs.files)])}
        # Rewritten on the way (VACUUM FULL): the damage may have written to a file that neither side has.
        self._rewritten = {name for name, file in self._catalogs.files.items() if here.get(name) != file[1]}
        self._then: dict[str, dict[str, tuple[int, str]]] = {}
        self._whose: dict[tuple[str, str, str], str] = {}
        #: Catalogs that were not compared, and why.
        self.failed = dict.fromkeys(self._catalogs.unread, "the role may not read it")
        # Objects in whose place stands another one of the same name that the damage did not make.
        self._replaced: set[tuple[int, int]] | None = set()

    @property
    def is_touched(self) -> bool:
        """True when the damage wrote to a catalog, or nobody can say."""
        return any(map(self.is_damaged, self._catalogs.files))

    def differences(self) -> list[Difference]:
        """Return what differs now, each with whose doing it was when that was first seen. What cannot be read is in `failed`.

        Raises:
            SqlError: a connection was lost.
        """
        found: list[Difference] = []
        for catalog, query in self._catalogs.raw.items():
            # What the damage did not write to, others alone have changed.
            if catalog in self.failed or not self.is_damaged(catalog):
                continue
            try:
                with self.copy.transaction(), self.production.transaction():
                    found += self._compared(catalog, query)
            except SqlError as problem:
                if self.copy.closed or self.production.closed:
                    raise
                self.failed[catalog] = (problem.diag.message_primary or str(problem)).strip()
        if self._replaced:
            found = self._apart(found, self._replaced)
        self._replaced = None
        return found

    def _compared(self, catalog: str, query: str) -> list[Difference]:
        if catalog not in self._then:
            self._then[catalog] = {row["key"]: (row["hash"], row["place"]) for row in rows(self.copy, query)}
        then = self._then[catalog]
        now = {row["key"]: (row["hash"], row["writer"]) for row in rows(self.production, query)}
        other = {key for key, (hashed, _) in then.items() if key not in now or now[key][0] != hashed}
        fresh = {key for key in now if key in other or key not in then}
        return self._told(catalog, other, fresh, then, now) if other or fresh else []

    def _apart(self, found: list[Difference], replaced: set[tuple[int, int]]) -> list[Difference]:
        """What belongs to an object that somebody has made otherwise since is not the damage's alone any more."""
        wholes = self.parts(one.row.about for one in found if one.then is not None and one.row.is_object)
        again = []
        for one in found:
            about = one.row.about
            is_of_it = about in replaced or (one.row.is_object and bool(wholes.get(about, set()) & replaced))
            if one.then is not None and one.whose == DAMAGE and is_of_it:
                self._whose[one.row.key] = MIXED
                one = replace(one, whose=MIXED)
            again.append(one)
        return again

    def _told(
        self,
        catalog: str,
        other: set[str],
        fresh: set[str],
        then: dict[str, tuple[int, str]],
        now: dict[str, tuple[int, str]],
    ) -> list[Difference]:
        before = dict(self._tell(self.copy, catalog, other))
        after = dict(self._tell(self.production, catalog, fresh))
        # The same row by its own key, also under another name; else one of the same name that was made since.
        named = {row.key: key for key, row in after.items() if key not in before}
        found, met = [], set()
        for key, row in before.items():
            new_key = key if key in after else named.get(row.key)
            new = None if new_key is None else after[new_key]
            met.add(new_key)
            writer = now[new_key][1] if new_key is not None else None
            is_other = new is not None and row.is_object and new.about != row.about
            if self._replaced is not None and is_other and not self._is_damage(writer):
                self._replaced.add(row.about)
            if (new is None and row.is_internal) or (new is not None and new.cells == row.cells):
                continue
            difference = Difference(row, new, UNKNOWN)
            found.append(replace(difference, whose=self._doer(difference, then[key][1], writer)))
        for key, row in after.items():
            if key not in met and not row.is_internal and self._is_damage(now[key][1]):
                found.append(Difference(None, row, DAMAGE))
        return found

    def _tell(self, connection: Connection, catalog: str, keys: Iterable[str]) -> list[tuple[str, CatalogRow]]:
        wanted = sorted(keys)
        if not wanted:
            return []
        names = self._catalogs.names[catalog]
        return [
            (
                row["key"],
                CatalogRow(
                    catalog,
                    row["kind"],
                    row["name"],
                    (row["class"], row["oid"]),
                    row["is_object"],
                    dict(zip(names, row["cells"], strict=True)),
                    tuple(oid for oid in row["reads"] or () if oid),
                    row["internal"],
                ),
            )
            for row in rows(connection, self._catalogs.told[catalog], [wanted])
            if not _NOT_OURS.match(row["name"])
        ]

    def _is_damage(self, writer: str | None) -> bool:
        return writer is not None and int(writer) in self.damage_xids

    def _doer(self, difference: Difference, place: str, writer: str | None) -> str:
        """Whose doing the difference is; as it was first seen, since what is made again is ours."""
        name = difference.row.key
        if name not in self._whose:
            self._whose[name] = self._told_by_wal(difference, place, writer)
        return self._whose[name]

    def _told_by_wal(self, difference: Difference, place: str, writer: str | None) -> str:
        file = self._catalogs.files[difference.row.catalog]
        if self.fates is None:
            return UNKNOWN
        known = {"damage": DAMAGE, "updated": DAMAGE, "older": MIXED}
        if difference.row.catalog not in self._rewritten:
            if file not in self.damage_files:
                return OTHERS
            known |= {"other": OTHERS, "changed": OTHERS}
        whose = known.get(self.fates.of(file, place) or "", UNKNOWN)
        if whose != DAMAGE or writer is None or self._is_damage(writer):
            return whose
        # Written since, perhaps by an attempt of ours that gave its role a right: a flag that others had changed, would be as it was.
        flags = all(
            {difference.row.cells[name], _cell(difference.now, name)} == {"t", "f"} for name in difference.columns
        )
        return DAMAGE if flags and int(writer) not in self.other_xids else MIXED

    def is_damaged(self, catalog: str) -> bool:
        """True when the damage wrote to the catalog, or nobody can say."""
        is_unknown = self.fates is None or catalog in self._rewritten
        return is_unknown or self._catalogs.files[catalog] in self.damage_files

    def parts(self, found: Iterable[tuple[int, int]]) -> dict[tuple[int, int], set[tuple[int, int]]]:
        """By object: the objects that it belongs to, in the copy or, where it is new, in production."""
        wanted = sorted(set(found))
        file = load_sql("recovery/list_parts")
        values = file.values({"classes": [one[0] for one in wanted], "objects": [one[1] for one in wanted]})
        wholes: dict[tuple[int, int], set[tuple[int, int]]] = defaultdict(set)
        for connection in (self.copy, self.production) if wanted else ():
            for row in rows(connection, file.text, values):
                wholes[row["class"], row["oid"]].add((row["whole_class"], row["whole"]))
        return wholes


def _cell(row: CatalogRow | None, name: str) -> str | None:
    return None if row is None else row.cells.get(name)


def literal_of(connection: Connection, text: str) -> str:
    """Return the text as an SQL literal."""
    return literal(text).as_string(connection)
