"""Dropped tables made again from the restored copy: pg_dump says what they were, production's transaction makes it so.

In three parts: the tables themselves with sequences, defaults, comments and grants; then their rows; then keys, indexes, triggers,
policies, foreign keys in both directions, and the views that went with them.

All that runs as superuser: making an index, a key or a check runs functions that they name. So only those tables are made again whose
definition reaches no function of a lesser role; the others are named, to be made again by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from runbook.errors import PlatformError
from runbook.outside import commands
from runbook.outside.commands import OsUser
from runbook.postgres import closure
from runbook.postgres.connect import Connection, SqlError, quote, rows
from runbook.postgres.connect import one as only
from runbook.postgres.sqlfiles import load_sql
from runbook.postgres.tools import Tools
from runbook.recovery.eventtriggers import lesser_function, why_not_defined
from runbook.recovery.lostrows import Relation
from runbook.recovery.tablelinks import read_foreign_keys

_HEADING = re.compile(r"^--\n-- Name: (.*); Type: ([A-Z ]+); Schema: (.*); Owner: .*\n--\n", re.MULTILINE)
_ATTACHED = re.compile(r"^ALTER INDEX (\S.*) ATTACH PARTITION ", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """One thing that pg_dump makes; `sql` has its heading too, so that entries one after the other are the script again."""

    name: str
    kind: str
    schema: str
    sql: str


def parse_dump(script: str) -> list[Entry]:
    r"""The script's entries, without the settings ahead of them and psql's own commands.

    >>> parse_dump("\\restrict x\nSET a = b;\n--\n-- Name: t; Type: TABLE; Schema: public; Owner: o\n--\n\nCREATE TABLE public.t ();\n\n")
    [Entry(name='t', kind='TABLE', schema='public', sql='--\n-- Name: t; Type: TABLE; Schema: public; Owner: o\n--\n\nCREATE TABLE public.t ();\n\n')]
    >>> parse_dump("SET a = b;\n")  # a table without keys has nothing after its rows
    []
    """
    script = script.rpartition("\n--\n-- PostgreSQL database dump complete\n")[0] or script
    found = list(_HEADING.finditer(script))
    ends = [match.start() for match in found[1:]] + [len(script)] if found else []
    return [
        Entry(match[1], match[2], match[3], script[match.start() : end]) for match, end in zip(found, ends, strict=True)
    ]


@dataclass(frozen=True)
class SchemaDump:
    """pg_dump on the restored copy. `env` says where it is (PGHOST, PGPORT, PGUSER …): nothing of it stands in argv."""

    tools: Tools
    env: Mapping[str, str]
    user: OsUser | None = None
    timeout: float = 600

    def argv(self, section: str, names: list[str]) -> list[str]:
        """pg_dump for one section of these relations, which are quoted."""
        words = [self.tools.path("pg_dump"), f"--section={section}", "--encoding=UTF8", "--strict-names"]
        words += ["--no-password", "--no-publications", "--no-subscriptions"]
        return words + [f"--table={name}" for name in names]

    def read(self, database: str, section: str, names: list[str]) -> list[Entry]:
        """What the section makes.

        Raises:
            CommandFailed, CommandTimedOut: pg_dump did not do it.
            PlatformError: a name cannot be read in this locale.
        """
        env = {**self.env, "PGDATABASE": database}
        script = commands.run(self.argv(section, names), timeout=self.timeout, user=self.user, env=env).stdout
        if "\ufffd" in script:
            raise PlatformError(
                "What pg_dump says of the dropped tables cannot be read as UTF-8.",
                next="Run again with LC_ALL=C.UTF-8.",
            )
        return parse_dump(script)


@dataclass
class Remaking:
    """What is to be made again in one database. `tops` are dropped tables whose parent, if they have one, is still there.

    `untrusted` are relations of production that may not be planned on, as `closure.untrusted` lists them.
    """

    database: str
    dump: SchemaDump
    production: Connection
    restored: Connection
    untrusted: Mapping[int, str] = field(default_factory=dict)
    relations: list[Relation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _post: list[Entry] = field(default_factory=list)
    _held: list[Entry] = field(default_factory=list)
    _is_without_views: bool = False

    @property
    def tops(self) -> list[Relation]:
        dropped = {relation.oid for relation in self.relations}
        return [relation for relation in self.relations if relation.parent_oid not in dropped]

    def why_not(self, relations: list[Relation], root: Relation) -> str | None:
        """Return why these must not be made again by a superuser; None: they may be.

        Args:
            root: the topmost table above them, or the table itself.
        """
        if refused := why_not_defined(self.production):
            return refused
        odd = rows(self.restored, load_sql("recovery/find_odd_names").text)
        if odd:
            return f"the name {odd[0]['name']!r} has a line break, and a script with it cannot be trusted"
        then = closure.untrusted(self.restored)
        file = load_sql("recovery/list_run_functions")
        oids = [relation.oid for relation in relations]
        parsed = parsed_by(self.restored, oids)
        computed = {row["oid"]: row["name"] for row in rows(self.restored, file.text, file.values({"oids": oids}))}
        for relation in relations:
            if reached := then.get(relation.oid) or computed.get(relation.oid) or parsed.get(relation.oid):
                return f"making {relation.title} would run {reached} as superuser; do it by hand, as its owner"
            for link in read_foreign_keys(self.restored, relation.oid):
                parent = find_relations(self.production, [(0, link.parent_schema, link.parent_name)]).get(0)
                if parent is not None and parent[0] in self.untrusted:
                    return f"checking its key {link.name} would run {self.untrusted[parent[0]]} as superuser; do it by hand, as its owner"
        here = find_relations(self.production, [(root.oid, root.schema, root.name)]).get(root.oid)
        if root not in relations and here is not None and here[0] in self.untrusted:
            return f"attaching it would run {self.untrusted[here[0]]} as superuser; do it by hand, as its owner"
        return None

    def make_tables(self) -> None:
        """The tables are there again, empty, without what their rows will be held to.

        Raises:
            SqlError: production refuses, CommandFailed: pg_dump does.
        """
        if not self.relations:
            return
        self._make_schemas()
        names = [*(relation.title for relation in self.relations), *self._views()]
        partitions = {(relation.schema, relation.name) for relation in self.tops if relation.parent_oid is not None}
        entries = self.dump.read(self.database, "pre-data", names)
        # Its parent has keys already, and would give it such of its own: attached when its own ones are there.
        self._held = [one for one in entries if one.kind == "TABLE ATTACH" and (one.schema, one.name) in partitions]
        self._run([entry for entry in entries if entry not in self._held])
        self._post = self.dump.read(self.database, "post-data", names)

    def make_what_goes(self) -> dict[int, str]:
        """As `make_tables`; a table that production refuses is left out, the others are made.

        Returns:
            by OID of each relation that is left out: what production said.

        Raises:
            SqlError: the connection was lost. CommandFailed: pg_dump failed.
        """
        wanted, notes = self.relations, list(self.notes)
        if self._is_made() is None:
            return {}
        self.notes = list(notes)
        # A view may need a function that takes a row of the table, and which is made after it.
        self._is_without_views = True
        if self._is_made() is None:
            return {}
        refused: dict[int, str] = {}
        for top in list(self.tops):
            self.relations = members = family(top, wanted)
            said = self._is_made(keep=False)
            refused |= {relation.oid: said for relation in members if said is not None}
        self.notes = notes
        self.relations = [relation for relation in wanted if relation.oid not in refused]
        if (said := self._is_made()) is not None:  # each goes by itself, and not together with the others
            refused |= {relation.oid: said for relation in self.relations}
            self.relations, self._post, self._held = [], [], []
        return refused

    def _is_made(self, *, keep: bool = True) -> str | None:
        """What production said against the tables, None when they were made; they are unmade again where they are not to be kept."""
        self.production.execute("SAVEPOINT tables")
        try:
            self.make_tables()
        except SqlError as problem:
            if self.production.closed:
                raise
            self.production.execute("ROLLBACK TO tables")
            return (problem.diag.message_primary or str(problem)).strip()
        if not keep:
            self.production.execute("ROLLBACK TO tables")
        self.production.execute("RELEASE tables")
        return None

    def finish(self) -> None:
        """The tables are complete.

        Raises:
            SqlError: a row does not fit, or something is missing in production.
        """
        if not self.relations:
            return
        self._post = [entry for entry in self._post if not self._is_unfit(entry)]
        late = [entry for entry in self._post if entry.kind == "INDEX ATTACH" and self._has_parent_index(entry)]
        self._run([*(entry for entry in self._post if entry not in late), *self._held, *late])
        for relation in self.relations:
            self._point_to(relation)

    def _is_unfit(self, entry: Entry) -> bool:
        """A materialized view that would run functions, or plan on tables, of a lesser role: it stays empty, which is said."""
        if entry.kind != "MATERIALIZED VIEW DATA":
            return False
        view = find_relations(self.production, [(0, entry.schema, entry.name)])[0][0]
        run = unfit_to_fill(self.production, view, self.untrusted)
        if run is not None:
            self.notes.append(
                f"{entry.schema}.{entry.name} is not filled: that would run {run}; REFRESH it as its owner"
            )
        return run is not None

    def _run(self, entries: list[Entry]) -> None:
        """In one go: a comment that looks like a heading is put together again."""
        script = "".join(entry.sql for entry in entries)
        if script:
            self.production.execute(script)

    def _has_parent_index(self, entry: Entry) -> bool:
        match = _ATTACHED.search(entry.sql)
        if match is None:
            return False
        return bool(
            only(self.production, "SELECT pg_catalog.to_regclass($1) IS NOT NULL AS found", [match[1]])["found"]
        )

    def _make_schemas(self) -> None:
        file = load_sql("recovery/find_schema_owner")
        for schema in sorted({relation.schema for relation in self.relations}):
            if rows(self.production, file.text, file.values({"schema": schema})):
                continue
            owner = only(self.restored, file.text, file.values({"schema": schema}))["owner"]
            self.production.execute(f"CREATE SCHEMA {quote(schema)} AUTHORIZATION {quote(owner)}")
            self.notes.append(f"schema {schema} is made again; its grants, types and functions are not")

    def _views(self) -> list[str]:
        """Views that went with the tables, quoted."""
        if self._is_without_views:
            return []
        file = load_sql("recovery/list_dependent_views")
        oids = [relation.oid for relation in self.relations]
        views = rows(self.restored, file.text, file.values({"oids": oids}))
        here = find_relations(self.production, [(view["oid"], view["schema"], view["name"]) for view in views])
        parsed = parsed_by(self.restored, [view["oid"] for view in views])
        gone = [view for view in views if view["oid"] not in here and view["oid"] not in parsed]
        if gone:
            self.notes.append("views made again: " + ", ".join(f"{view['schema']}.{view['name']}" for view in gone))
        return [f"{quote(view['schema'])}.{quote(view['name'])}" for view in gone]

    def _point_to(self, relation: Relation) -> None:
        """Foreign keys of tables that were not dropped point to it again; not validated where a row's parent is missing."""
        file = load_sql("recovery/list_incoming_keys")
        dropped = {other.oid for other in self.relations}
        for link in rows(self.restored, file.text, file.values({"oid": relation.oid})):
            place = link["oid"], link["schema"], link["table_name"]
            here = find_relations(self.production, [place]).get(link["oid"])
            if link["oid"] in dropped or here is None:
                continue
            if link["name"] in {key.name for key in read_foreign_keys(self.production, here[0])}:
                continue
            child = f"{quote(link['schema'])}.{quote(link['table_name'])}"
            if here[0] in self.untrusted:
                self.notes.append(
                    f"foreign key {link['name']} of {child} is not made again: that would run {self.untrusted[here[0]]}"
                )
                continue
            add = f"ALTER TABLE {child} ADD CONSTRAINT {quote(link['name'])} {link['definition']}"
            self.production.execute("SAVEPOINT pointing")
            try:
                self.production.execute(add)
            except SqlError as problem:
                if problem.sqlstate != "23503":
                    problem.add_note(f"while foreign key {link['name']} of {child} was made again")
                    raise
                self.production.execute("ROLLBACK TO pointing")
                self.production.execute(f"{add.removesuffix(' NOT VALID')} NOT VALID")
                self.notes.append(
                    f"foreign key {link['name']} of {child} holds for new rows only: some of its rows have no parent; "
                    "VALIDATE CONSTRAINT once they have"
                )
            self.production.execute("RELEASE pointing")


def family(top: Relation, relations: list[Relation]) -> list[Relation]:
    """The table and its partitions at any depth."""
    found = [top]
    while more := [one for one in relations if one not in found and one.parent_oid in {part.oid for part in found}]:
        found += more
    return found


def unfit_to_fill(production: Connection, view: int, untrusted: Mapping[int, str]) -> str | None:
    """Return the first function of a lesser role that filling the materialized view would run; None: none."""
    if (name := lesser_function(production)) is not None:
        return name
    file = load_sql("recovery/list_run_functions")
    run = [row["name"] for row in rows(production, file.text, file.values({"oids": [view]}))]
    file = load_sql("recovery/list_read_relations")
    run += [
        untrusted[row["oid"]]
        for row in rows(production, file.text, file.values({"oid": view}))
        if row["oid"] in untrusted
    ]
    return run[0] if run else None


def parsed_by(restored: Connection, oids: list[int]) -> dict[int, str]:
    """Return relations with a part (a default, a trigger's condition, a view's rule …) that runs a function as soon as its definition is
    read, and which one."""
    checked = {
        (row["class"], row["oid"]): row["name"]
        for row in rows(restored, load_sql("recovery/list_checked_objects").text)
    }
    if not checked:
        return {}
    file = load_sql("recovery/list_own_parts")
    found = {}
    for row in rows(restored, file.text, file.values({"oids": oids})):
        if name := checked.get((row["class"], row["oid"])):
            found[row["relation"]] = name
    return found


def find_relations(connection: Connection, wanted: list[tuple[int, str, str]]) -> dict[int, tuple[int, bool]]:
    """Those of the relations (oid, schema, name) that are here: by the oid that was wanted, its oid here and whether it is the same one."""
    file = load_sql("recovery/find_relations")
    oids, schemas, names = (list(column) for column in zip(*wanted, strict=True)) if wanted else ([], [], [])
    found: dict[int, tuple[int, bool]] = {}
    for row in rows(connection, file.text, file.values({"oids": oids, "schemas": schemas, "names": names})):
        found.setdefault(wanted[row["position"] - 1][0], (row["oid"], row["is_same"]))
    return found
