"""Lost rows of one table, and what in production speaks against each of them; found by the reader, who can change nothing.

Keys are looked up by operators where their types are PostgreSQL's own; else, and where nothing may be planned on the table, the table is
read by COPY from end to end and compared as text. What cannot be told before (a key by an expression of the application's) the table
itself refuses when the rows are written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field

from runbook.postgres.connect import Connection, quote, rows
from runbook.recovery.copybackplan import (
    CHANGED,
    EXISTS,
    GONE,
    LISTED,
    NO_KEY,
    PRESENT,
    SAME_CONTENT,
    WRITTEN,
    Conflict,
    TableCopy,
)
from runbook.recovery.copycontents import Altered, Contents
from runbook.recovery.ledger import Laid, Ledger
from runbook.recovery.loss import Xids
from runbook.recovery.lostrows import LostRow
from runbook.recovery.rowstreams import Row, copy_rows
from runbook.recovery.tablelinks import ForeignKey, UniqueKey
from runbook.recovery.tableshape import (
    PLACE,
    TableShape,
    all_rows,
    fetch_by_key,
    row_columns,
    rows_query,
    text_of,
)
from runbook.texts import many

#: A name that no column of a user has.
_ROW = quote("runbook row")
#: The list of rows by their key.
_KEY = "key"
_TAKEN = "another row has the same value"


@dataclass
class Staged:
    """A table's lost rows in the ledger, one cell for each of `columns`.

    `now` is the table in production, `then` in the restored copy. `what` is "i", "u" or "o" as LostRow has it; a row without a reason
    is to be copied. `reader` reads production; `encoding` is the database's.
    """

    ledger: Ledger
    reader: Connection
    number: int
    report: TableCopy
    then: TableShape
    now: TableShape
    uniques: tuple[UniqueKey, ...]
    foreigns: tuple[ForeignKey, ...]
    #: The partitioned table above it, where it is a partition that is made again.
    root: tuple[str, str] | None = None
    encoding: str = "UTF8"
    #: Row-level security holds for whoever writes.
    has_policies: bool = False
    #: Columns that the damage has changed in some row.
    changed: set[str] = field(default_factory=set)
    #: Where rows that the damage changed lie in production, by their ctid in the restored copy; empty: not known.
    places_there: dict[str, str] = field(default_factory=dict)
    #: Others' transactions, where an attempt before this one has written: what neither they nor the damage wrote is this run's.
    others: Xids | None = None
    #: Rows by column in which they are not as they were, after they were written.

    def __post_init__(self) -> None:
        self.columns = [name for name in self.then.columns if name in self.now.columns]
        self.plain = [
            name for name in self.columns if name not in self.now.generated and name not in self.then.generated
        ]
        self.key = next((unique for unique in self.uniques if self._is_key(unique)), None)
        what = [self.then.columns, self.now.columns, self.now.types, [asdict(key) for key in self.uniques]]
        links = [[key.name, key.parent_schema, key.parent_name, key.columns] for key in self.foreigns]
        self.report.shape = hashlib.sha256(json.dumps([what, links]).encode()).hexdigest()[:16]

    def _is_key(self, unique: UniqueKey) -> bool:
        is_plain = not (unique.predicate or unique.is_exclusion or unique.is_deferrable)
        return is_plain and set(unique.columns) == set(self.now.key) <= set(self.columns)

    @property
    def key_columns(self) -> list[str]:
        """The columns that tell a row to people."""
        return [name for name in (self.now.key or self.then.key) if name in self.columns]

    def places(self, columns: Iterable[str]) -> list[int]:
        """Where they stand in a row of the ledger."""
        return [self.columns.index(name) for name in columns]

    def places_now(self, columns: Iterable[str]) -> list[int]:
        """Where they stand in a row of production."""
        return [PLACE + self.now.columns.index(name) for name in columns]

    def _contents(self) -> Contents:
        return Contents(
            self.ledger, self.number, self.plain, self.places(self.plain), self.then, self.now, self.encoding
        )

    # -- laying ready

    def lay(self, lost: Iterable[LostRow]) -> None:
        """The rows are in the ledger; memory stays flat."""
        self.ledger.lay(self.number, lost)

    # -- what speaks against a row

    def find_conflicts(self, damage: Xids, restored: Connection) -> None:
        """Every row that something in this table speaks against has its reason."""
        if self.report.is_made_again:
            return
        if self.key is None:
            self._look_up_places(damage)
            self._contents().count(restored, self.reader, SAME_CONTENT if self.others is None else WRITTEN)
        self._look_up(damage)
        for unique in self._others():
            if not self._is_plain(unique):
                self._find_clashes(unique)

    def _pages(self, where: str) -> Iterator[list[Laid]]:
        return self.ledger.pages(self.number, where)

    def _others(self) -> list[UniqueKey]:
        return [unique for unique in self.uniques if unique != self.key and set(unique.columns) <= set(self.columns)]

    @staticmethod
    def _is_plain(unique: UniqueKey) -> bool:
        """Columns compared as they are: rows with NULL never clash, or that is left to the index itself."""
        plain = [{quote(name), name} for name in unique.columns]
        return (
            not (unique.predicate or unique.is_exclusion)
            and len(unique.expressions) == len(unique.columns)
            and all(any(text in names for names in plain) for text in unique.expressions)
        )

    def _look_up(self, damage: Xids) -> None:
        """Rows of production with a lost row's key, or with its values in another key."""
        keys = {} if self.key is None else {_KEY: list(self.key.columns)}
        keys |= {unique.name: list(unique.columns) for unique in self._others() if self._is_plain(unique)}
        if keys:
            for name, columns in keys.items():
                self.ledger.list_by(self.number, name, self.places(columns), "what <> 'o'")
        if keys and all(self.now.may_compare(columns) for columns in keys.values()):
            for name, columns in keys.items():
                self._fetch(name, columns, damage)
        elif keys:
            for row in self._stream():
                for name, columns in keys.items():
                    values = [row[place] for place in self.places_now(columns)]
                    if None not in values:
                        found = self.ledger.get(self.number, self.ledger.listed(self.number, name, values))
                        self._meet(name, [(laid, row) for laid in found], damage)
        if self.key is not None:
            unseen = f"what = 'u' AND writer IS NULL AND (reason IS NULL OR reason LIKE '{_TAKEN}%')"
            gone = [row.n for page in self._pages(unseen) for row in page]
            self.ledger.speak(self.number, [(n, GONE) for n in gone])

    def _look_up_places(self, damage: Xids) -> None:
        """Without a key a changed row is found by its place, to which WAL was followed; it is set back if the damage wrote what is there."""
        for page in self._pages("what = 'u' AND reason IS NULL"):
            wanted = {self.places_there[row.place]: row for row in page if row.place in self.places_there}
            query = f"SELECT ARRAY[{row_columns(self.now, as_text=True)}] AS cells FROM {self.now.source} WHERE t.ctid = ANY ($1::tid[])"
            met = rows(self.reader, query, [list(wanted)]) if wanted else []
            there: dict[str, Row] = {row["cells"][1]: tuple(row["cells"]) for row in met}
            reasons, found, replaced = [(row.n, NO_KEY) for row in page if row.place not in self.places_there], [], []
            for ctid, laid in wanted.items():
                row = there.get(ctid)
                if row is None or int(row[0] or 0) not in damage:
                    reasons.append((laid.n, WRITTEN if row is None and self.others is not None else CHANGED))
                    continue
                differing = self.differing(laid, row)
                if not differing:
                    reasons.append((laid.n, PRESENT))
                    continue
                self.changed |= differing
                found.append((ctid, self.number, laid.n))
                replaced.append([row[place] for place in self.places_now(self.plain)])
            self.ledger.do("UPDATE row SET there = ? WHERE t = ? AND n = ?", found)
            self.ledger.speak(self.number, reasons)
            self._contents().replace(replaced)

    def _stream(self) -> Iterator[Row]:
        if self.now.untrusted is not None:
            return all_rows(self.reader, self.now)
        return copy_rows(self.reader, rows_query(self.now))

    def _fetch(self, name: str, columns: list[str], damage: Xids) -> None:
        places = self.places(columns)
        for page in self._pages("what <> 'o'"):
            keyed: dict[tuple[str, ...], list[Laid]] = {}
            for laid in page:
                values = tuple(laid.cells[place] for place in places)
                if None not in values:
                    keyed.setdefault(tuple(value or "" for value in values), []).append(laid)
            there = fetch_by_key(self.reader, self.now, columns, list(keyed)) if keyed else {}
            self._meet(name, [(laid, row) for key, row in there.items() for laid in keyed[key]], damage)

    def _meet(self, name: str, met: list[tuple[Laid, Row]], damage: Xids) -> None:
        """Lost rows and the rows that have their key, or their values in another one."""
        if name == _KEY:
            self._meet_key(met, damage)
            return
        unique = next(one for one in self.uniques if one.name == name)
        reasons = []
        for laid, row in met:
            if laid.reason is None and not self._is_itself(laid, row) and not self._gives_way(unique, row):
                reasons.append((laid.n, f"{_TAKEN} in {unique.words}"))
        self.ledger.speak(self.number, reasons)

    def _is_itself(self, laid: Laid, row: Row) -> bool:
        if self.key is None:
            return False
        own = [laid.cells[place] for place in self.places(self.key.columns)]
        return laid.what == "u" and own == [row[place] for place in self.places_now(self.key.columns)]

    def _gives_way(self, unique: UniqueKey, row: Row) -> bool:
        """A deferrable key is checked when all rows have been set back: what such a row holds now, is free then."""
        if not unique.is_deferrable or self.key is None:
            return False
        values = [row[place] for place in self.places_now(self.key.columns)]
        found = self.ledger.get(self.number, self.ledger.listed(self.number, _KEY, values))
        return any(one.what == "u" and one.reason is None for one in found)

    def _meet_key(self, met: list[tuple[Laid, Row]], damage: Xids) -> None:
        reasons, writers = [], []
        for laid, row in met:
            differing = self.differing(laid, row)
            reason = laid.reason
            if not differing:
                reason = PRESENT
            elif self._is_ours(row, damage):
                reason = WRITTEN
            elif laid.what == "i":
                reason = laid.reason or EXISTS
            elif reason is None:
                writer = row[0]
                if writer is not None and int(writer) not in damage:
                    reason = CHANGED
                else:
                    self.changed |= differing
            if laid.what == "u":
                # Who wrote it is not known where the table is read by COPY: whoever writes asks for it then.
                writers.append((row[0] or "", self.number, laid.n))
            if reason is not None:
                reasons.append((laid.n, reason))
        self.ledger.do("UPDATE row SET writer = ? WHERE t = ? AND n = ?", writers)
        self.ledger.speak(self.number, reasons)

    def _is_ours(self, row: Row, damage: Xids) -> bool:
        """The row of production was written by an attempt of this run before; a trigger has changed what it wrote."""
        if self.others is None or not row[0]:
            return False
        return int(row[0]) not in damage and int(row[0]) not in self.others

    def differing(self, laid: Laid, row: Row) -> set[str]:
        """The columns in which the row of production says something else; as text, since not every type can be compared."""
        own, there = self.places(self.plain), self.places_now(self.plain)
        return {
            name for name, mine, theirs in zip(self.plain, own, there, strict=True) if laid.cells[mine] != row[theirs]
        }

    def _find_clashes(self, unique: UniqueKey) -> None:
        """Another row of production has what this row would bring, by an expression, a predicate or an exclusion constraint."""
        names = list(unique.columns)
        types = [self.now.types[name] for name in names]
        is_ours = all(operator.startswith("OPERATOR(pg_catalog.") for operator in unique.operators)
        if not (self.now.may_compare(names) and is_ours) or any(one.endswith("[]") for one in types):
            self.report.notes.append(f"what {unique.words} refuses is only known when the rows are written")
            return
        where = f" WHERE {unique.predicate}" if unique.predicate else ""
        keys = [quote(f"runbook k{number}") for number in range(len(unique.expressions))]
        made = ", ".join(f"({text}) AS {key}" for text, key in zip(unique.expressions, keys, strict=True))
        match = " AND ".join(
            f"(t.{key} {operator} s.{key}"
            + (f" OR (t.{key} IS NULL AND s.{key} IS NULL))" if unique.nulls_equal else ")")
            for operator, key in zip(unique.operators, keys, strict=True)
        )
        arrays = "".join(f", pg_catalog.unnest(${number}::{one}[])" for number, one in enumerate(types, 2))
        own_key = [text_of(f"t.{quote(name)}") for name in (self.key.columns if self.key else ())]
        query = (
            f"SELECT s.{_ROW} AS n, ARRAY[{', '.join(own_key)}]::text[] AS key FROM (SELECT x.{_ROW}, {made} FROM "
            f"ROWS FROM (pg_catalog.unnest($1::int8[]){arrays}) AS x ({', '.join([_ROW, *map(quote, names)])}){where}) AS s "
            f"JOIN (SELECT t.*, {made} FROM {self.now.source}{where}) AS t ON {match}"
        )
        places = self.places(names)
        own_places = self.places(self.key.columns) if self.key else []
        for page in self._pages("what <> 'o' AND reason IS NULL"):
            laid = {row.n: row for row in page}
            columns = [[row.cells[place] for row in page] for place in places]
            reasons = []
            for met in rows(self.reader, query, [list(laid), *columns]):
                row = laid[met["n"]]
                if row.what == "u" and met["key"] == [row.cells[place] for place in own_places]:
                    continue
                if unique.is_deferrable and any(
                    one.what == "u" and one.reason is None
                    for one in self.ledger.get(self.number, self.ledger.listed(self.number, _KEY, met["key"]))
                ):
                    continue
                reasons.append((row.n, f"{_TAKEN} in {unique.words}"))
            self.ledger.speak(self.number, reasons)

    # -- what came of it

    def recount(self, kept: str, not_set_back: str, ours: set[str]) -> None:
        """After the commit, by the reader: rows that are not in have a reason; rows that are not as they were are in the notes.

        Args:
            kept, not_set_back: the reasons for rows that did not get in, or were not set back.
            ours: transactions (and their parts) that wrote.
        """
        if self.key is None:
            self._note_altered(self._contents().count_again(self.reader, kept, not_set_back, ours))
            return
        altered = 0
        columns = list(self.key.columns)
        if self.now.may_compare(columns):
            places = self.places(columns)
            for page in self._pages("what <> 'o' AND reason IS NULL"):
                keyed = {tuple(row.cells[place] or "" for place in places): row for row in page}
                there = fetch_by_key(self.reader, self.now, columns, list(keyed))
                altered += self._see([(keyed[key], row) for key, row in there.items()], ours)
        else:
            for row in self._stream():
                values = [row[place] for place in self.places_now(columns)]
                found = self.ledger.get(self.number, self.ledger.listed(self.number, _KEY, values))
                altered += self._see([(laid, row) for laid in found if laid.reason is None and laid.what != "o"], ours)
        for page in self._pages("what <> 'o' AND reason IS NULL AND found = 0"):
            self.ledger.speak(self.number, [(row.n, kept if row.what == "i" else not_set_back) for row in page])
        if altered:
            self._warn_altered(altered)

    def _warn_altered(self, number: int) -> None:
        columns = ", ".join(f"{name} in {rows_:,}" for name, rows_ in sorted(self.report.altered.items()))
        self.report.warn(f"{many(number, 'row')} not quite as before, changed by triggers while written: {columns}")

    def _note_altered(self, found: Altered) -> None:
        """What triggers made of rows without a key."""
        self.report.altered = dict(found.columns)
        if found.rows and not found.columns:
            more = "more than " if found.is_more else ""
            self.report.warn(
                f"{more}{many(found.rows, 'row')} were written with other values than before, by triggers: the table has no key, so "
                "which of the rows that did not get in these are is not known"
            )
        elif found.rows:
            self._warn_altered(found.rows)

    def _see(self, met: list[tuple[Laid, Row]], ours: set[str]) -> int:
        """Rows that are in are noted as found; how many of them say something else."""
        altered, found = 0, []
        for laid, row in met:
            differing = self.differing(laid, row)
            if (row[0] in ours) if row[0] is not None else not differing:
                found.append((self.number, laid.n))
                altered += bool(differing)
                for name in differing:
                    self.report.altered[name] = self.report.altered.get(name, 0) + 1
        self.ledger.do("UPDATE row SET found = 1 WHERE t = ? AND n = ?", found)
        return altered

    def fill_report(self) -> None:
        """The report has the numbers, the reasons and the first conflicts."""
        report = self.report
        report.insert = report.set_back = report.present = 0
        report.reasons, report.conflicts = {}, []
        counted = self.ledger.ask(
            "SELECT what, reason, count(*) FROM row WHERE t = ? AND what <> 'o' GROUP BY what, reason", [self.number]
        )
        for what, reason, number in counted:
            if reason is None and what == "i":
                report.insert = number
            elif reason is None:
                report.set_back = number
            elif reason in (PRESENT, WRITTEN):
                report.present += number
            else:
                report.reasons[reason] = report.reasons.get(reason, 0) + number
        key = self.key_columns
        places = self.places(key)
        for page in self._pages("what <> 'o' AND reason IS NOT NULL"):
            for row in page:
                if len(report.conflicts) == LISTED:
                    return
                if row.reason is not None and row.reason not in (PRESENT, WRITTEN):
                    values = dict(zip(key, (row.cells[place] for place in places), strict=True))
                    report.conflicts.append(Conflict(report.table, values, row.place, row.reason))
