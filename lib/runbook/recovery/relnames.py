"""Which table a file in WAL belongs to. Names come from catalogs: a living server's, a restored copy's, a backup's files.

A TRUNCATE or a rewrite gives a table a new file, a DROP takes its name away: so names must come from before the damage too. Where no
catalog has a file, the WAL tells which file took its place (`follow`), and the name goes along.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from runbook.errors import PlatformError
from runbook.postgres.connect import Connection, SqlError, quote, rows, shared_rows
from runbook.postgres.sqlfiles import load_sql
from runbook.recovery.transactions import FIRST_NORMAL, USER_DATA, RelFile

#: Kinds of relations that hold rows a user put there.
TABLES = ("r", "p", "m")
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
    """Names by file and by oid. What was added first stands: add the oldest catalog first."""

    def __init__(self) -> None:
        self._by_file: dict[RelFile, RelationName] = {}
        self._by_oid: dict[tuple[int, int], RelationName] = {}
        self._databases: dict[int, str] = {}
        self._instead: dict[RelFile, RelFile] = {}
        self._now: dict[tuple[int, int], RelFile | None] = {}
        self._columns: dict[tuple[int, int, int], list[ColumnChange]] = {}
        self.knows_the_present = self.knows_columns = False

    def add(self, names: Iterable[RelationName], *, is_present: bool = False) -> None:
        """The names are known from now on.

        Args:
            is_present: this is the damaged server's own catalog as it is: what is not in it, is gone.
        """
        for name in names:
            if name.file is not None:
                self._by_file.setdefault(name.file, name)
            self._by_oid.setdefault((name.database, name.oid), name)
            self.add_database(name.database, name.database_name)
            if is_present:
                self._now[name.database, name.oid] = name.file
        self.knows_the_present = self.knows_the_present or is_present

    def add_database(self, number: int, name: str) -> None:
        """The database's name is known."""
        self._databases.setdefault(number, name)

    def files_of(self, oid: int) -> frozenset[int]:
        """Numbers of the files of a relation that every database has, a catalog."""
        return frozenset({oid, *(file.number for file, name in self._by_file.items() if name.oid == oid)})

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

    def follow(self, pairs: Iterable[tuple[RelFile, RelFile]]) -> None:
        """Old and new file of the same relation: whichever has a name gives it to the other."""
        for old, new in pairs:
            self._instead[new] = old
            self._instead.setdefault(old, new)

    def learn(self, file: RelFile, oid: tuple[int, int]) -> None:
        """The WAL says that the file was this relation's."""
        known = self._by_oid.get(oid)
        if known is not None and file not in self._by_file:
            self._by_file[file] = replace(known, file=file, source=known.source + ", followed through WAL")

    def find(self, file: RelFile) -> RelationName | None:
        """The relation that has, had or got this file; None when nobody knows."""
        known = self._by_file.get(file)
        seen = {file}
        at = file
        while known is None:
            following = self._instead.get(at)
            if following is None or following in seen:
                return None
            seen.add(following)
            at, known = following, self._by_file.get(following)
        return known if at == file else replace(known, file=file, source=known.source + ", followed through WAL")

    def find_oid(self, database: int, oid: int) -> RelationName | None:
        """The relation of that oid."""
        return self._by_oid.get((database, oid))

    def is_there_now(self, name: RelationName) -> bool | None:
        """Whether the damaged server still has the relation; None when its catalog was not read."""
        return (name.database, name.oid) in self._now if self.knows_the_present else None

    def table(self, file: RelFile) -> RelationName | None:
        """The table whose rows are in this file, the topmost one of partitions; of a TOAST table or an index, its table."""
        known = self.find(file)
        if known is None:
            return None
        if known.owner_oid is not None:
            known = self._by_oid.get((known.database, known.owner_oid), known)
        if known.root_oid is not None:
            known = self._by_oid.get((known.database, known.root_oid), known)
        return known

    def holds_user_rows(self, file: RelFile) -> bool:
        """False for catalogs, TOAST tables and indexes, as far as they are known."""
        known = self.find(file)
        if known is None:
            return file.number >= FIRST_NORMAL or file.number in USER_DATA
        return known.kind in TABLES and (not known.is_catalog or known.is_user_data)

    def title(self, file: RelFile) -> str:
        """The table's name for people, with its database where several are known."""
        known = self.table(file)
        if known is None and file.number in USER_DATA:
            return f"{USER_DATA[file.number]} in {self.database(file.database)}"
        if known is None:
            return f"relation {file} (name not known)"
        return self.title_of(known)

    def title_of(self, known: RelationName) -> str:
        """As `title`, of a relation that is known."""
        kind = f"{_KINDS[known.kind]} " if known.kind in _KINDS else ""
        several = len({name.database for name in self._by_oid.values() if not name.is_catalog} - {known.database}) > 0
        title = USER_DATA[known.oid] if known.is_user_data else f"{kind}{known.title}"
        return title + (f" in database {quoted(known.database_name)}" if several else "")

    def database(self, number: int) -> str:
        """The database, for people: database shop."""
        known = self._databases.get(number)
        return f"database {quoted(known)}" if known is not None else f"database {number} (name not known)"

    def leaves(self, root: RelationName) -> list[RelationName]:
        """The relations with files that make up a table: itself, or its partitions."""
        return [
            name
            for name in self._by_oid.values()
            if name.database == root.database
            and name.file is not None
            and (name.oid == root.oid or name.root_oid == root.oid)
            and name.kind in TABLES
        ]


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
