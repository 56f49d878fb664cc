"""What the damage took besides rows and tables (keys, views, policies, grants, comments, flags): made again, or named with its statement.

It is found by comparing all catalogs (`catalogdiff`), before anything is done, and once more at the end: what is missing then is named.
Each statement has a savepoint of its own, so one that production refuses leaves the others. Nothing is run as superuser that would run
functions of a lesser role: what reads rows only on tables that reach none, what is only parsed only if no type in it is checked by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from runbook.errors import CommandFailed, CommandTimedOut
from runbook.postgres import closure
from runbook.postgres.connect import Connection, SqlError, one, rows
from runbook.postgres.sqlfiles import load_sql
from runbook.recovery.catalogdiff import DAMAGE, MIXED, OTHERS, UNKNOWN, Comparison, Difference, literal_of
from runbook.recovery.eventtriggers import why_not_defined
from runbook.recovery.objectstatements import belongings, covered, place_of, statements
from runbook.recovery.remaking import parsed_by, unfit_to_fill
from runbook.recovery.schemaarchive import ArchiveEntry, SchemaArchive
from runbook.recovery.takenplan import TakenObject
from runbook.texts import many

_CLASS, _TYPE, _FUNCTION, _SCHEMA, _CONSTRAINT = 1259, 1247, 1255, 2615, 2606
#: Kinds of objects, as pg_identify_object calls them, that are made again from pg_dump's entry. What is not here is named.
_PARSED = frozenset(
    ["schema", "type", "function", "procedure", "sequence", "view", "materialized view", "trigger", "rule", "policy", "default value",
     "publication", "publication relation", "publication namespace", "default acl"]
)  # fmt: skip
_SCANNING = frozenset(["index", "table constraint", "statistics object"])
#: Those that dropped tables may need.
_EARLY = frozenset(["schema", "type", "function", "procedure", "sequence"])
_TYPES = frozenset("ecdr")
_NO_STATEMENT = "no statement for it is known here"


@dataclass
class TakenObjects:
    """Those of one database. `tables` are the OIDs of dropped tables, which `remaking` makes again or which have a problem of their own."""

    database: str
    comparison: Comparison
    archive: SchemaArchive
    production: Connection
    restored: Connection
    untrusted: dict[int, str]
    tables: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    _first: list[Difference] = field(default_factory=list)
    _why: dict[tuple[str, str, str], str] = field(default_factory=dict)
    _hazards: tuple[dict[int, str], dict[tuple[int, int], str]] | None = None

    @property
    def is_work(self) -> bool:
        """True when there is something to be made again."""
        return any(one_.whose == DAMAGE and one_.then is not None for one_ in self._first)

    def look(self) -> None:
        """What differs is known, and whose doing that was; before anything is made again.

        Raises:
            SqlError: a catalog cannot be read.
        """
        if self.comparison.is_touched:
            self._first = self.comparison.differences()

    # -- what is missing

    def _damage(self, found: Iterable[Difference]) -> list[Difference]:
        return [one_ for one_ in found if one_.whose == DAMAGE and one_.then is not None]

    def _tops(self, found: list[Difference]) -> list[Difference]:
        """Without what belongs to something that is gone itself, or was made new itself; and without tables, which are reported elsewhere."""
        gone = {one_.row.about for one_ in found if one_.row.is_object and (one_.now is None or one_.then is None)}
        differing = {one_.row.about for one_ in found if one_.row.is_object}
        wholes = self.comparison.parts(gone | {about for about in differing if about[0] == _TYPE})
        tops = []
        for one_ in found:
            about = one_.row.about
            above = wholes.get(about, set()) - {about} if one_.row.is_object else {about}
            # A table's own type, and the array of a type, are as these are.
            is_part = above & (differing if one_.row.is_object and about[0] == _TYPE else gone)
            if not is_part and not (one_.row.is_object and one_.now is None and self._is_table(about)):
                tops.append(one_)
        return tops

    def _is_table(self, about: tuple[int, int]) -> bool:
        return about[0] == _CLASS and about[1] in self.tables

    def _without_tables(self, found: list[Difference]) -> list[Difference]:
        """Without tables that are gone, and what belongs to these at any depth: it is made with them, or not at all."""
        gone = {one_.row.about for one_ in found if one_.row.is_object and one_.now is None}
        wholes = self.comparison.parts(gone)
        out = {about for about in gone if self._is_table(about)}
        while more := {about for about in gone - out if wholes.get(about, set()) & out}:
            out |= more
        return [one_ for one_ in found if one_.row.about not in out]

    def _entries(self, found: list[Difference]) -> dict[tuple[int, int], ArchiveEntry]:
        """pg_dump's entries of what is gone, in their order; a constraint that may hold for new rows only is not among them."""
        objects = [
            one_.row.about
            for one_ in found
            if one_.now is None
            and one_.row.is_object
            and not (one_.row.catalog == "pg_constraint" and one_.row.cells["contype"] in ("f", "c"))
        ]
        if not objects:
            return {}
        try:
            return self.archive.of(objects)
        except (CommandFailed, CommandTimedOut) as problem:
            self.notes.append(f"pg_dump did not give the definitions of what was dropped: {problem}")
            return {}

    def _literal(self, text: str) -> str:
        return literal_of(self.production, text)

    # -- what may be run

    def _refusal(self, difference: Difference, entry: ArchiveEntry | None) -> str | None:
        """Why it is not made again; None: it may be."""
        row = difference.row
        if difference.now is None and entry is not None:
            if row.kind == "table":
                if row.cells["relkind"] != "p":
                    return "its rows are not among those that come back"
                reached = parsed_by(self.restored, [row.about[1]]).get(row.about[1])
                return (
                    f"reading its definition would run {reached} as superuser; run it as its owner" if reached else None
                )
            if row.kind not in _PARSED | _SCANNING:
                return f"an object of this kind ({row.kind}) is not made again by itself"
            if row.kind == "type" and row.cells["typtype"] not in _TYPES:
                return "a base type is not made again by itself"
            return self._would_run(difference, is_scan=row.kind in _SCANNING)
        made = statements(difference, self._literal)
        if not made or (difference.now is not None and not covered(difference, self._literal)):
            return _NO_STATEMENT
        if not all(one_.is_ours for one_ in made):
            return "that is for a person to decide"
        return self._would_run(difference, is_scan=any(one_.is_scan for one_ in made))

    def _would_run(self, difference: Difference, *, is_scan: bool) -> str | None:
        if reached := why_not_defined(self.production):
            return reached
        if self._hazards is None:
            listed = rows(self.restored, load_sql("recovery/list_checked_objects").text)
            self._hazards = (
                closure.untrusted(self.restored),
                {(row["class"], row["oid"]): row["name"] for row in listed},
            )
        untrusted, checked = self._hazards
        row = difference.row
        if name := checked.get(row.about):
            return f"a type in it is checked by {name}, which would run as superuser; run it as its owner"
        if not is_scan:
            return None
        found = [untrusted.get(oid) or self.untrusted.get(oid) for oid in row.reads]
        names = [
            row.cells[name]
            for name in ("conrelid", "confrelid", "indrelid", "attrelid", "inhrelid", "inhparent", "stxrelid")
            if row.cells.get(name)
        ]
        query = "SELECT pg_catalog.to_regclass(n.name)::pg_catalog.oid::bigint AS oid FROM pg_catalog.unnest($1::text[]) AS n (name)"
        found += [
            self.untrusted.get(here["oid"]) for here in rows(self.production, query, [names]) if here["oid"] is not None
        ]
        reached = next((name for name in found if name), None)
        return f"it would run {reached} as superuser; run it as its owner" if reached else None

    # -- doing it

    def make_early(self) -> None:
        """Schemas, types, functions and sequences that dropped tables may need are there again, as far as they need no table themselves.

        A sequence of a column is not: making it locks its table, which is still to be read.
        """
        found = self._without_tables(self._damage(self._first))
        gone = [one_ for one_ in found if one_.now is None and one_.row.is_object]
        wholes = self.comparison.parts(one_.row.about for one_ in gone)
        missing = [
            one_
            for one_ in gone
            if one_.row.kind in _EARLY and not (one_.row.kind == "sequence" and wholes.get(one_.row.about))
        ]
        if missing:
            self._make_entries(missing)

    def make(self) -> None:
        """All that may be made again is.

        Raises:
            SqlError: production was lost.
        """
        if not self.is_work:
            return
        tried: set[tuple[tuple[str, str, str], tuple[str, ...]]] = set()
        # What belongs to an object shows as missing only once that is there again: its comment, its grants, its own parts.
        while True:
            left = sorted(self._without_tables(self._damage(self.comparison.differences())), key=place_of)
            entries = self._entries(left)
            tops = self._tops(left)
            dumped = [one_ for one_ in left if one_.now is None and one_.row.is_object and one_.row.about in entries]
            fresh = [one_ for one_ in dumped if (one_.row.key, one_.columns) not in tried]
            if not fresh:
                fresh = [one_ for one_ in tops if (one_.row.key, one_.columns) not in tried]
            if not fresh:
                return
            tried |= {(one_.row.key, one_.columns) for one_ in fresh}
            self._make_entries(fresh)
            for one_ in fresh:
                if not (one_.now is None and one_.row.is_object and one_.row.about in entries):
                    self._change(one_)

    def _make_entries(self, missing: list[Difference]) -> None:
        by_object = {one_.row.about: one_ for one_ in missing if one_.now is None and one_.row.is_object}
        for about, entry in self._entries(missing).items():
            difference = by_object[about]
            why = self._refusal(difference, entry)
            if why is None:
                try:
                    why = self._run(self.archive.statements(entry))
                except (CommandFailed, CommandTimedOut) as problem:  # its definition cannot be read, say
                    why = str(problem)
            if why is None and difference.row.kind == "sequence":
                self._set_value(difference.row.name)
            if why is not None:
                self._why[difference.row.key] = why
            else:
                self._why.pop(difference.row.key, None)

    def _set_value(self, name: str) -> None:
        """A sequence that is made again goes on where it was."""
        was = one(self.restored, f"SELECT s.last_value, s.is_called FROM {name} AS s")
        rows(
            self.production,
            "SELECT pg_catalog.setval($1::pg_catalog.regclass, $2, $3)",
            [name, was["last_value"], was["is_called"]],
        )

    def _change(self, difference: Difference) -> None:
        key = difference.row.key
        if difference.row.catalog == "pg_class" and difference.columns == ("relispopulated",):
            self._fill(difference)
            return
        why = self._refusal(difference, None)
        if why is not None:
            self._why.setdefault(key, why)
            return
        for made in statements(difference, self._literal):
            failed = self._run(made.text)
            if failed is not None and made.not_valid is not None and self._state in ("23503", "23514"):
                failed = self._run(made.not_valid)
                if failed is None:
                    self._why[key] = (
                        "some rows do not fit it: it holds for new rows only, VALIDATE CONSTRAINT once they do"
                    )
            if failed is not None:
                self._why[key] = failed

    def _fill(self, difference: Difference) -> None:
        query = "SELECT pg_catalog.to_regclass($1)::pg_catalog.oid::bigint AS oid"
        oid = one(self.production, query, [difference.row.name])["oid"]
        run = unfit_to_fill(self.production, oid, self.untrusted)
        why = (
            f"filling it would run {run}; run it as its owner"
            if run
            else self._run(f"REFRESH MATERIALIZED VIEW {difference.row.name};")
        )
        if why is not None:
            self._why[difference.row.key] = why

    _state: str | None = None

    def _run(self, text: str) -> str | None:
        """Run it under a savepoint.

        Returns:
            what production said against it, None when it was done.

        Raises:
            SqlError: the connection was lost.
        """
        self.production.execute("SAVEPOINT object")
        try:
            self.production.execute("SET LOCAL check_function_bodies = off")
            self.production.execute(text)
        except SqlError as problem:
            if self.production.closed:
                raise
            self.production.execute("ROLLBACK TO object")
            self.production.execute("RELEASE object")
            self._state = problem.sqlstate
            return f"production refused: {(problem.diag.message_primary or str(problem)).strip()}"
        self.production.execute("RELEASE object")
        return None

    # -- what is said of it

    def planned(self) -> list[TakenObject]:
        """What would be made again, and what would not."""
        return self._account(self._first, is_plan=True)

    def account(self) -> list[TakenObject]:
        """What differs now; what the damage took and is back as it was, too.

        Raises:
            SqlError: a catalog cannot be read.
        """
        if not self.comparison.is_touched:
            return []
        now = self.comparison.differences()
        left = {one_.row.key for one_ in now}
        back = [self._taken(one_, "", []) for one_ in self._tops(self._damage(self._first)) if one_.row.key not in left]
        return [*back, *self._account(now, is_plan=False)]

    def _account(self, found: list[Difference], *, is_plan: bool) -> list[TakenObject]:
        tops = sorted(self._tops([one_ for one_ in found if one_.whose != OTHERS]), key=place_of)
        entries = self._entries([one_ for one_ in tops if one_.then is not None])
        taken = []
        for one_ in tops:
            entry = entries.get(one_.row.about) if one_.now is None and one_.row.is_object else None
            said = self._said(one_, found)
            if one_.then is None:
                why = "the damage made it, and it is left as it is"
            elif one_.whose == MIXED:
                why = "the damage changed it and so did others: it differs from the restored copy, and is left as it is"
            elif one_.whose == UNKNOWN:
                why = "it differs from the restored copy: whose change that is, is not known; it is left as it is"
            elif is_plan:
                why = self._refusal(one_, entry) or ""
                if one_.row.catalog == "pg_class" and one_.columns == ("relispopulated",):
                    why = ""
            else:
                why = self._why.get(one_.row.key) or self._refusal(one_, entry) or "it was not made again"
            taken.append(self._taken(one_, why, said))
        for catalog, why in self.comparison.failed.items():
            if self.comparison.is_damaged(catalog):
                said_ = f"it was not compared, and the damage wrote to it: {why}"
                taken.append(TakenObject(self.database, f"catalog {catalog}", "not compared", DAMAGE, said_))
        others = sum(one_.whose == OTHERS for one_ in found)
        if others:
            self._note(
                f"{many(others, 'row')} of catalogs: other transactions alone have changed what the restored copy has"
            )
        return taken

    def _note(self, said: str) -> None:
        if said not in self.notes:
            self.notes.append(said)

    def _said(self, difference: Difference, found: list[Difference]) -> list[str]:
        """What makes it again by hand, with all that belongs to it: its indexes, its comment, its grants."""
        if difference.then is None:
            return []
        own = [made.text for made in statements(difference, self._literal)]
        if difference.whose == MIXED:
            # What others have granted since is theirs.
            own = [text for text in own if not text.startswith("REVOKE ")]
        if difference.now is not None or not difference.row.is_object:
            return own
        gone = [one_ for one_ in found if one_.now is None and one_.then is not None]
        about, below = difference.row.about, {difference.row.about}
        wholes = self.comparison.parts(one_.row.about for one_ in gone if one_.row.is_object)
        while more := {part for part, whole in wholes.items() if whole & below} - below:
            below |= more
        parts = [one_ for one_ in gone if one_.row.about in below]
        entries = self._entries(parts)
        try:
            said = [self.archive.statements(entry) for entry in entries.values()]
        except (CommandFailed, CommandTimedOut) as problem:
            self.notes.append(str(problem))
            return own
        # The type of a table or a view has no grants of its own.
        theirs = [one_.row for one_ in parts if not one_.row.is_object or one_.row.about in entries]
        more_ = [made.text for row in theirs for made in belongings(row, self._literal)]
        return [*([] if about in entries else own), *said, *more_]

    def _taken(self, difference: Difference, why: str, said: list[str]) -> TakenObject:
        row = difference.row
        what = f"{row.kind} {row.name}".strip()
        if not row.is_object and row.catalog not in ("pg_attribute", "pg_depend"):
            what = f"{row.catalog} of {what}"
        changed = (
            "gone"
            if difference.now is None
            else "made"
            if difference.then is None
            else f"changed: {', '.join(difference.columns)}"
        )
        return TakenObject(self.database, what, changed, difference.whose, why, tuple(said))
