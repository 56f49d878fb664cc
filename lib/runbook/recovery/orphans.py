"""Lost rows whose parent is neither in production nor coming back, to the last generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runbook.postgres.connect import Connection, quote, rows
from runbook.recovery.copystage import Staged
from runbook.recovery.ledger import Ledger
from runbook.recovery.relnames import RelationName
from runbook.recovery.rowdiffs import digest
from runbook.recovery.rowstreams import copied
from runbook.recovery.tablelinks import ForeignKey
from runbook.recovery.tableshape import TableShape, find_shape


class Orphans:
    """Finds them for all tables of a database together.

    Args:
        untrusted: relations of production that may not be planned on.
    """

    def __init__(
        self, reader: Connection, ledger: Ledger, staged: Sequence[Staged], untrusted: Mapping[int, str]
    ) -> None:
        self._reader, self._ledger, self._untrusted = reader, ledger, untrusted
        self._staged = {one.number: one for one in staged}

    def find(self) -> None:
        """Every orphan has its reason."""
        # (child, link): its name in the ledger, and the tables whose coming rows may be parents, each with its list's name.
        self._links: list[tuple[Staged, ForeignKey, str, list[tuple[int, str]]]] = []
        for child in self._staged.values():
            for number, link in enumerate(child.foreigns):
                if set(link.columns) <= set(child.columns):
                    name = f"link {number}"
                    self._ledger.list_by(
                        child.number, name, child.places(link.columns), "what <> 'o' AND reason IS NULL"
                    )
                    self._links.append((child, link, name, self._coming(link)))
        lost: list[tuple[int, int]] = []
        for child, link, name, parents in self._links:
            lost += self._without_parent(child, link, name, parents)
        while lost:
            table, n = lost.pop()
            lost += self._children_of(self._staged[table], n)

    def _coming(self, link: ForeignKey) -> list[tuple[int, str]]:
        found = []
        for other in self._staged.values():
            is_parent = (link.parent_schema, link.parent_name) in ((other.now.schema, other.now.name), other.root)
            if is_parent and set(link.parent_columns) <= set(other.columns):
                name = "parent " + ",".join(map(quote, link.parent_columns))
                if not self._ledger.ask("SELECT 1 FROM value WHERE t = ? AND name = ? LIMIT 1", [other.number, name]):
                    places = other.places(link.parent_columns)
                    self._ledger.list_by(other.number, name, places, "what = 'i' AND reason IS NULL")
                found.append((other.number, name))
        return found

    def _without_parent(
        self, child: Staged, link: ForeignKey, name: str, parents: list[tuple[int, str]]
    ) -> list[tuple[int, int]]:
        """The first generation: neither in production nor coming. Values that production has are taken off the list."""
        shape = self._parent_shape(link)
        types = [child.now.types[column] for column in link.columns]
        may_ask = shape is not None and shape.may_compare(link.parent_columns) and child.now.may_compare(link.columns)
        if shape is not None and not may_ask:
            self._stream_parents(shape, link, child.number, name)
        lost = []
        for page in self._ledger.pages(child.number, "what <> 'o' AND reason IS NULL"):
            values = {row.n: [row.cells[place] for place in child.places(link.columns)] for row in page}
            given = {n: cells for n, cells in values.items() if None not in cells}
            if shape is not None and may_ask and given:
                there = self._ask_parents(shape, link, types, given)
                self._ledger.do(
                    "DELETE FROM value WHERE t = ? AND name = ? AND hash = ? AND n = ?",
                    [(child.number, name, digest(given[n]), n) for n in there],
                )
                given = {n: cells for n, cells in given.items() if n not in there}
            elif shape is not None:
                given = {n: cells for n, cells in given.items() if n in self._ledger.listed(child.number, name, cells)}
            orphans = [n for n, cells in given.items() if not self._comes(parents, cells)]
            self._ledger.speak(child.number, [(n, _words(link)) for n in orphans])
            lost += [(child.number, n) for n in orphans]
        return lost

    def _parent_shape(self, link: ForeignKey) -> TableShape | None:
        wanted = RelationName(
            0, "", 0, link.parent_schema, link.parent_name, link.parent_kind, None, None, None, None, "a foreign key"
        )
        return find_shape(self._reader, wanted, self._untrusted)

    def _ask_parents(
        self, shape: TableShape, link: ForeignKey, types: Sequence[str], given: Mapping[int, list[str | None]]
    ) -> set[int]:
        names = [f"k{number}" for number in range(len(types))]
        arrays = "".join(f", pg_catalog.unnest(${number}::{one}[])" for number, one in enumerate(types, 2))
        equal = " AND ".join(
            f"t.{quote(column)} OPERATOR(pg_catalog.=) k.{name}"
            for column, name in zip(link.parent_columns, names, strict=True)
        )
        query = (
            f"SELECT k.n FROM ROWS FROM (pg_catalog.unnest($1::int8[]){arrays}) AS k (n, {', '.join(names)}) "
            f"WHERE EXISTS (SELECT FROM {shape.source} WHERE {equal})"
        )
        columns = [list(column) for column in zip(*given.values(), strict=True)]
        return {row["n"] for row in rows(self._reader, query, [list(given), *columns])}

    def _stream_parents(self, shape: TableShape, link: ForeignKey, table: int, name: str) -> None:
        """The parent's keys by COPY, from end to end; what it has is taken off the list."""
        named = ", ".join(map(quote, link.parent_columns))
        for schema, part in shape.parts:
            for row in copied(self._reader, f"COPY {quote(schema)}.{quote(part)} ({named}) TO STDOUT"):
                if self._ledger.listed(table, name, row):
                    self._ledger.do(
                        "DELETE FROM value WHERE t = ? AND name = ? AND hash = ?", [(table, name, digest(row))]
                    )

    def _comes(self, parents: list[tuple[int, str]], cells: Sequence[str | None]) -> bool:
        return any(
            self._ledger.ask(
                "SELECT 1 FROM value AS v JOIN row AS r ON r.t = v.t AND r.n = v.n "
                "WHERE v.t = ? AND v.name = ? AND v.hash = ? AND r.reason IS NULL LIMIT 1",
                [table, name, digest(cells)],
            )
            for table, name in parents
        )

    def _children_of(self, parent: Staged, n: int) -> list[tuple[int, int]]:
        """Rows that waited for this one, and for no other."""
        lost = []
        row = self._ledger.get(parent.number, [n])[0]
        if row.what != "i":
            return []
        for child, link, name, parents in self._links:
            if not any(table == parent.number for table, _ in parents):
                continue
            cells = [row.cells[place] for place in parent.places(link.parent_columns)]
            if self._comes(parents, cells):
                continue
            waiting = self._ledger.get(child.number, self._ledger.listed(child.number, name, cells))
            orphans = [one.n for one in waiting if one.reason is None and one.what != "o"]
            self._ledger.speak(child.number, [(one, _words(link)) for one in orphans])
            lost += [(child.number, one) for one in orphans]
        return lost


def _words(link: ForeignKey) -> str:
    return f"the row that {link.name} ({', '.join(link.columns)}) points to is gone from {link.parent_schema}.{link.parent_name}"
