"""Which table a file in WAL belongs to. Names come from catalogs: a living server's, a restored copy's, a backup's files.

A TRUNCATE or a rewrite gives a table a new file, a DROP takes its name away: so names come from before the damage too, from every base
backup and from the catalogs' own rows in WAL. What none of them names is not known; it is never taken for another relation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from runbook.errors import PlatformError
from runbook.postgres.connect import Connection, SqlError, quote, rows, shared_rows
from runbook.postgres.sqlfiles import load_sql
from runbook.recovery.transactions import FIRST_NORMAL, USER_DATA, ClassRow, RelFile
from runbook.recovery.walnames import WalNames

#: Kinds of relations that hold rows a user put there.
TABLES = ("r", "p", "m")
#: What stands where no catalog has the name.
NOT_KNOWN = "name not known"
#: So many partitions are named in a title.
MOST_NAMED = 4
WAL = "catalog rows in WAL"
Oid = tuple[int, int]
_PLAIN = re.compile(r"^[a-z_][a-z0-9_$]*$")
_KINDS = {"t": "TOAST table", "i": "index", "I": "index", "S": "sequence", "m": "materialized view"}


@dataclass(frozen=True)
class RelationName:
    """A relation's name and place. `file` is None where there is none (a partitioned table), `estimated_rows` where nobody counted.

    `owner_oid` is the table that a TOAST table or an index belongs to, `root_oid` the topmost partitioned table. `source` says
    which catalog knew it, `columns` how many it had then, dropped ones too (None: not read).
    """

    database: int
    database_name: str
    oid: int
    schema: str
    name: str
    kind: str
    file: RelFile | None
    estimated_rows: float | None
    owner_oid: int | None
    root_oid: int | None
    source: str
    columns: int | None = None

    @property
    def title(self) -> str:
        """Such as public.vehicles, quoted where SQL wants it so."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    @property
    def is_catalog(self) -> bool:
        return self.oid < FIRST_NORMAL or self.schema in ("pg_catalog", "information_schema")

    @property
    def is_user_data(self) -> bool:
        """True for a catalog whose rows are a user's data: large objects."""
        return self.oid in USER_DATA


def quoted(name: str) -> str:
    """An identifier as SQL wants it, without quotes where it needs none.

    >>> quoted("vehicles"), quoted("Order Lines")
    ('vehicles', '"Order Lines"')
    """
    return name if _PLAIN.match(name) else quote(name)


def counted(rows: int, title: str) -> str:
    """Rows of a table in words; large objects are called what they are.

    >>> counted(1, "public.vehicles"), counted(1200, "large objects"), counted(1, "pages of large objects in database shop")
    ('1 row of public.vehicles', '1,200 large objects', '1 page of large objects in database shop')
    """
    if title.startswith(tuple(USER_DATA.values())):
        return f"{rows:,} " + (title if rows != 1 else re.sub("^(page|large object)s", r"\1", title))
    return f"{rows:,} row{'' if rows == 1 else 's'} of {title}"


@dataclass(frozen=True)
class ColumnChange:
    """A column as a transaction left it: dropped, or with another definition; `is_new` None where nobody knows whether it was there before."""

    number: int
    name: str
    is_dropped: bool
    is_new: bool | None


class NameBook:
    """Names by file and by oid. Add the oldest catalog first: a relation's newest name stands, and the first size that was read of a file."""

    def __init__(self) -> None:
        self._oids: dict[RelFile, Oid] = {}
        self._sizes: dict[RelFile, float | None] = {}
        self._by_oid: dict[Oid, RelationName] = {}
        self._schemas: dict[Oid, str] = {}
        self._databases: dict[int, str] = {}
        self._now: dict[Oid, RelFile | None] = {}
        self._columns: dict[tuple[int, int, int], list[ColumnChange]] = {}
        self._found: dict[RelFile, RelationName | None] = {}
        self._peopled: set[int] = set()
        self.knows_the_present = self.knows_columns = False

    def add(self, names: Iterable[RelationName], *, is_present: bool = False) -> None:
        """The names are known from now on.

        Args:
            is_present: this is the damaged server's own catalog as it is: what is not in it, is gone.
        """
        seen: set[Oid] = set()  # one catalog holds older versions of a row too, behind the newest
        for name in names:
            oid = (name.database, name.oid)
            if name.file is not None:
                self._oids.setdefault(name.file, oid)
                self._sizes.setdefault(name.file, name.estimated_rows)
            if oid not in seen:
                self._rename(name)
            seen.add(oid)
            self.add_database(name.database, name.database_name)
            if is_present:
                self._now[oid] = name.file
        self.knows_the_present = self.knows_the_present or is_present

    def _rename(self, name: RelationName) -> None:
        """The relation is called so now; what else was known of it stays."""
        known = self._by_oid.get((name.database, name.oid))
        if known is not None:
            columns = known.columns if known.columns is not None else name.columns
            owner = name.owner_oid if name.owner_oid is not None else known.owner_oid
            name = replace(name, columns=columns, owner_oid=owner)
        self._by_oid[name.database, name.oid] = name
        self._found.clear()
        if not name.is_catalog:
            self._peopled.add(name.database)

    def add_schemas(self, schemas: Mapping[Oid, str]) -> None:
        """The schemas of these oids, by (database, oid), are called so."""
        self._schemas |= schemas

    def add_missing(self, names: Iterable[RelationName]) -> None:
        """The names are known of relations and files that nothing else has named."""
        for name in names:
            oid = (name.database, name.oid)
            if name.file is not None:
                self._oids.setdefault(name.file, oid)
                self._sizes.setdefault(name.file, name.estimated_rows)
            if oid not in self._by_oid:
                self._rename(name)
            self.add_database(name.database, name.database_name)
        self._found.clear()

    def add_wal(self, found: WalNames) -> None:
        """The names are known that catalogs in WAL tell."""
        for number, name in {**found.images.databases, **found.databases}.items():
            self.add_database(number, name)
        self._schemas = {**found.images.schemas, **self._schemas, **found.schemas}
        for file, catalog in found.mapped.items():
            self._oids.setdefault(file, (file.database, catalog))
        for facts in (found, found.images):
            for file, row in facts.files.items():
                self._oids.setdefault(file, (row.database, row.oid))
                if file not in self._sizes or (facts is found and row.estimated_rows is not None):
                    self._sizes[file] = row.estimated_rows
        # A page image may be of an old version: it names only what nothing else does.
        unknown = {oid: row for oid, row in found.images.classes.items() if oid not in self._by_oid}
        above = {child: parent for child, parent in found.images.parents.items() if child not in found.detached}
        self._add_rows({**unknown, **found.classes}, {**above, **dict.fromkeys(found.detached, 0), **found.parents})

    def _add_rows(self, classes: Mapping[Oid, ClassRow], parents: Mapping[Oid, int]) -> None:
        toasts = {(row.database, row.toast): row.oid for row in classes.values() if row.toast}
        partitioned = {oid for oid, name in self._by_oid.items() if name.kind == "p"}
        partitioned |= {oid for oid, row in classes.items() if row.kind == "p"}
        for (database, oid), row in classes.items():
            self._rename(
                RelationName(
                    database=database,
                    database_name=self._databases.get(database, f"database {database}"),
                    oid=oid,
                    schema=self._schema_of(row, self._by_oid.get((database, oid))),
                    name=row.name,
                    kind=row.kind,
                    file=row.file,
                    estimated_rows=row.estimated_rows,
                    owner_oid=toasts.get((database, oid)) if row.kind == "t" else None,
                    root_oid=self._root_of(database, oid, parents, partitioned),
                    source=WAL,
                    columns=row.columns,
                )
            )
        self._found.clear()

    def _schema_of(self, row: ClassRow, known: RelationName | None) -> str:
        fixed = {11: "pg_catalog", 99: "pg_toast", 2200: "public"}
        name = self._schemas.get((row.database, row.schema)) or fixed.get(row.schema)
        return name or (known.schema if known is not None else f"schema {row.schema}")

    def _root_of(self, database: int, oid: int, parents: Mapping[Oid, int], partitioned: set[Oid]) -> int | None:
        """The topmost partitioned table above a relation, by WAL and by the catalogs that were added before."""
        root, at, seen = None, oid, {oid}
        while True:
            known = self._by_oid.get((database, at))
            above = parents.get((database, at))
            if above is None:
                return known.root_oid if known is not None and known.root_oid is not None else root
            if (database, above) not in partitioned or above in seen:
                return root
            seen.add(above)
            root = at = above

    def add_database(self, number: int, name: str) -> None:
        """The database's name is known."""
        self._databases.setdefault(number, name)

    def files_of(self, oid: int) -> frozenset[int]:
        """Return the numbers of the files of a relation that every database has, a catalog."""
        return frozenset({oid, *(file.number for file, known in self._oids.items() if known[1] == oid)})

    def catalogs(self, oids: Iterable[int]) -> dict[RelFile, int]:
        """Return the files of catalogs, as far as catalogs were read, by what they are."""
        wanted = frozenset(oids)
        return {file: known[1] for file, known in self._oids.items() if known[1] in wanted}

    def add_column(self, database: int, oid: int, xid: int, change: ColumnChange) -> None:
        """The damaged server's catalog says which transaction has written this column's row."""
        known = self._by_oid.get((database, oid))
        if known is not None and known.columns is not None:
            change = replace(change, is_new=change.number > known.columns)
        self._columns.setdefault((database, oid, xid & 0xFFFFFFFF), []).append(change)

    def columns_changed(self, database: int, oid: int, xids: Iterable[int]) -> list[ColumnChange]:
        """Columns that were there before and that these transactions dropped or changed."""
        found = [one for xid in xids for one in self._columns.get((database, oid, xid & 0xFFFFFFFF), [])]
        return sorted((one for one in found if one.is_dropped or not one.is_new), key=lambda one: one.number)

    def find(self, file: RelFile) -> RelationName | None:
        """Return the relation that has, had or got this file; None when nobody knows."""
        if file not in self._found:
            known = self._by_oid.get(self._oids.get(file, (0, 0)))
            size = self._sizes.get(file)
            self._found[file] = replace(known, file=file, estimated_rows=size) if known is not None else None
        return self._found[file]

    def find_oid(self, database: int, oid: int) -> RelationName | None:
        """Return the relation of that oid."""
        return self._by_oid.get((database, oid))

    def is_catalog_file(self, file: RelFile) -> bool:
        """Return True for a file of a catalog, as far as is known."""
        oid = self._oids.get(file)
        return oid[1] < FIRST_NORMAL if oid is not None else file.number < FIRST_NORMAL

    def is_there_now(self, name: RelationName) -> bool | None:
        """Return whether the damaged server still has the relation; None when its catalog was not read."""
        return (name.database, name.oid) in self._now if self.knows_the_present else None

    def titles_now(self) -> frozenset[str]:
        """Return the titles of the tables that the damaged server has now; none where its catalog was not read."""
        there = [self._by_oid[oid] for oid in self._now] if self.knows_the_present else []
        return frozenset(self.title_of(name) for name in there if name.kind in TABLES and not name.is_catalog)

    def owner(self, file: RelFile) -> RelationName | None:
        """Return the relation whose rows are in this file: of a TOAST table or an index, its table; a partition is itself."""
        known = self.find(file)
        if known is None or known.owner_oid is None:
            return known
        return self._by_oid.get((known.database, known.owner_oid), known)

    def table(self, file: RelFile) -> RelationName | None:
        """Return the table whose rows are in this file, the topmost one of partitions; of a TOAST table or an index, its table."""
        known = self.owner(file)
        if known is not None and known.root_oid is not None:
            return self._by_oid.get((known.database, known.root_oid), known)
        return known

    def holds_user_rows(self, file: RelFile) -> bool:
        """Return False for catalogs, TOAST tables and indexes, as far as they are known."""
        known = self.find(file)
        if known is None:
            return file.number in USER_DATA or not self.is_catalog_file(file)
        return known.kind in TABLES and (not known.is_catalog or known.is_user_data)

    def table_title(self, file: RelFile) -> str:
        """Return the name of `table` for people, with its database where several are known."""
        return self._title(file, self.table(file))

    def title(self, file: RelFile) -> str:
        """Return the relation's own name for people; a partition says whose it is."""
        return self._title(file, self.owner(file))

    def joint_title(self, files: Sequence[RelFile]) -> str:
        """Return one title for files of one table: a partition's own where it is the only one, else the table's."""
        titles = {self.title(file) for file in files}
        return titles.pop() if len(titles) == 1 else self.table_title(files[0])

    def partitions_in(self, files: Sequence[RelFile]) -> str:
        """Return the names of the partitions whose files these are, for a text; empty where the title names the only one."""
        named = list(dict.fromkeys(quoted(known.name) for file in files if (known := self.owner(file)) is not None))
        if len(named) < 2:
            return ""
        more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        return f" (partitions {', '.join(named[:MOST_NAMED])}{more})"

    def _title(self, file: RelFile, known: RelationName | None) -> str:
        if known is not None:
            return self.title_of(known)
        if file.number in USER_DATA:
            return f"{USER_DATA[file.number]} in {self.database(file.database)}"
        return f"relation {file} ({NOT_KNOWN})"

    def title_of(self, known: RelationName) -> str:
        """As `title`, of a relation that is known."""
        kind = f"{_KINDS[known.kind]} " if known.kind in _KINDS else ""
        several = len(self._peopled - {known.database}) > 0
        title = USER_DATA[known.oid] if known.is_user_data else f"{kind}{known.title}"
        root = self._by_oid.get((known.database, known.root_oid or 0))
        if root is not None and root.oid != known.oid:
            title += f", a partition of {root.title}"
        return title + (f" in database {quoted(known.database_name)}" if several else "")

    def database(self, number: int) -> str:
        """Return the database, for people: database shop."""
        known = self._databases.get(number)
        return f"database {quoted(known)}" if known is not None else f"database {number} ({NOT_KNOWN})"


def read_names(
    open_: Callable[[str], Connection], first_database: str, source: str, missed: list[str] | None = None
) -> list[RelationName]:
    """The names of every database of a server.

    Args:
        open_: a connection to the database of that name; it is closed here.
        first_database: one that is there, where the others are listed.
        source: what kind of server it is, such as "the damaged server".
        missed: gets one line for each database that could not be read.

    Raises:
        PlatformError: the first one cannot be reached.
    """
    with open_(first_database) as connection:
        databases = shared_rows(connection, load_sql("recovery/list_databases").text, (), "name")
    found: list[RelationName] = []
    for database in databases:
        if not database["is_open"]:
            continue
        try:
            with open_(database["name"]) as connection:
                listed = rows(connection, load_sql("recovery/list_relation_names").text)
        except (PlatformError, SqlError) as problem:
            if missed is None:
                raise
            missed.append(f"{database['name']}: {str(problem).strip()}")
            continue
        found += [relation_name(row, database["oid"], database["name"], source) for row in listed]
    return found


def read_columns(connection: Connection, names: NameBook, tables: Iterable[RelationName]) -> None:
    """The names know which transaction has written the row of each column of these tables, all of the connection's database."""
    by_oid = {known.oid: known for known in tables}
    file = load_sql("recovery/list_changed_columns")
    for row in rows(connection, file.text, file.values({"oids": sorted(by_oid)})):
        change = ColumnChange(row["number"], row["name"], row["is_dropped"], None)
        names.add_column(by_oid[row["oid"]].database, row["oid"], row["xid"], change)


def relation_name(row: Mapping[str, object], database: int, database_name: str, source: str) -> RelationName:
    """One row of recovery/list_relation_names."""
    number, tablespace = row["number"], row["tablespace"]
    assert isinstance(tablespace, int)
    shared = tablespace == 1664
    return RelationName(
        database=database,
        database_name=database_name,
        oid=_whole(row["oid"]) or 0,
        schema=str(row["schema"]),
        name=str(row["name"]),
        kind=str(row["kind"]),
        file=RelFile(tablespace, 0 if shared else database, number) if isinstance(number, int) else None,
        estimated_rows=row["estimated_rows"] if isinstance(row["estimated_rows"], float) else None,
        owner_oid=_whole(row["owner_oid"]),
        root_oid=_whole(row["root_oid"]),
        source=source,
        columns=None,  # as it is today: how many there were before the damage, it does not say
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
