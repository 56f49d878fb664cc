"""Lost rows laid ready in temporary tables of production, where the server itself finds what speaks against each of them.

The same statements serve a plan, whose transaction is rolled back, and the copying itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from runbook.postgres.connect import Connection, one, quote, rows
from runbook.recovery.copybackplan import (
    CHANGED,
    EXISTS,
    GONE,
    LISTED,
    NO_KEY,
    PRESENT,
    SAME_CONTENT,
    Conflict,
    TableCopy,
)
from runbook.recovery.loss import Xids
from runbook.recovery.lostrows import LostRow
from runbook.recovery.rowstreams import copy_rows
from runbook.recovery.tablelinks import ForeignKey, UniqueKey
from runbook.recovery.tableshape import TableShape, content_hash, hash_query

#: A name that no column of a user has.
_ROW = quote("runbook row")


@dataclass
class Staged:
    """A table's lost rows in `pg_temp.back_<number>`, one column for each of `columns`, and what is known of each row.

    `now` is the table in production, `then` in the restored copy. `what` is "i", "u" or "o" as LostRow has it; a row whose `reason` is
    NULL is to be copied; `writer` is who wrote the row that stands there.
    """

    production: Connection
    number: int
    report: TableCopy
    then: TableShape
    now: TableShape
    uniques: tuple[UniqueKey, ...]
    foreigns: tuple[ForeignKey, ...]
    #: The partitioned table above it, where it is a partition that is made again.
    root: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        self.columns = [name for name in self.then.columns if name in self.now.columns]
        self.table = f"pg_temp.back_{self.number}"
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

    def cell(self, column: str) -> str:
        """The staged column of that name."""
        return f"c{self.columns.index(column)}"

    def execute(self, text: str, values: Sequence[object] = ()) -> None:
        """A statement whose identifiers were quoted here."""
        rows(self.production, text, values)

    def same_key(self, staged: str = "b") -> str:
        """The production's row `t` and the staged one have the same key."""
        assert self.key is not None
        # A key's expressions are its columns, quoted as they must be.
        names = {quote(name): name for name in self.key.columns} | {name: name for name in self.key.columns}
        return " AND ".join(
            f"t.{quote(names[expression])} {operator} {staged}.{self.cell(names[expression])}"
            for expression, operator in zip(self.key.expressions, self.key.operators, strict=True)
        )

    def same_content(self, columns: Iterable[str] | None = None) -> str:
        """The production's row `t` says what the staged row `b` says; as text, since not every type can be compared."""
        names = [name for name in (self.columns if columns is None else columns) if name not in self.now.generated]
        compared = [f"t.{quote(name)}::text IS NOT DISTINCT FROM b.{self.cell(name)}::text" for name in names]
        return " AND ".join(compared) or "true"

    # -- laying ready

    def lay(self, lost: Iterable[LostRow]) -> None:
        """The rows are in the temporary table; memory stays flat."""
        cells = "".join(f", t.{quote(name)} AS {self.cell(name)}" for name in self.columns)
        self.execute(
            f"CREATE TEMPORARY TABLE {self.table} ON COMMIT DROP AS SELECT 0::bigint AS n, ''::text AS what, ''::text AS place, "
            f"''::text AS reason, '0'::xid AS writer{cells} FROM {self.now.source} WITH NO DATA"
        )
        listed = ", ".join(["n", "what", "place", "reason", *map(self.cell, self.columns)])
        statement = f"COPY {self.table} ({listed}) FROM STDIN"
        with self.production.cursor() as cursor, cursor.copy(statement) as copy:
            for number, row in enumerate(lost):
                copy.write_row((number, row.what, row.place, row.reason, *row.cells))
        self.execute(f"ANALYZE {self.table}")

    # -- what speaks against a row

    def find_conflicts(self, damage: Xids, restored: Connection) -> None:
        """Every row that something in this table speaks against has its reason."""
        if self.report.is_made_again:
            return
        if self.key is None:
            self.execute(f"UPDATE {self.table} SET reason = $1 WHERE what = 'u' AND reason IS NULL", [NO_KEY])
            self._count_contents(restored)
        else:
            self._find_present()
            self._find_changed(damage)
        for unique in self.uniques:
            if unique != self.key and set(unique.columns) <= set(self.columns):
                self._find_clashes(unique)

    def _find_present(self) -> None:
        self.execute(
            f"UPDATE {self.table} AS b SET reason = CASE WHEN {self.same_content()} THEN $1 ELSE coalesce(b.reason, $2) END "
            f"FROM {self.now.source} WHERE b.what = 'i' AND {self.same_key()}",
            [PRESENT, EXISTS],
        )

    def _find_changed(self, damage: Xids) -> None:
        self.execute(
            f"UPDATE {self.table} AS b SET writer = t.xmin, reason = CASE WHEN {self.same_content()} THEN $1 "
            f"WHEN b.reason IS NULL AND NOT t.xmin = ANY ($3::text::xid[]) THEN $2 ELSE b.reason END "
            f"FROM {self.now.source} WHERE b.what = 'u' AND {self.same_key()}",
            [PRESENT, CHANGED, damage.literal()],
        )
        self.execute(
            f"UPDATE {self.table} SET reason = $1 WHERE what = 'u' AND reason IS NULL AND writer IS NULL", [GONE]
        )

    def _find_clashes(self, unique: UniqueKey) -> None:
        """Another row of production has what this row would bring."""
        where = f" WHERE {unique.predicate}" if unique.predicate else ""
        names = [quote(f"runbook k{number}") for number in range(len(unique.expressions))]
        keys = ", ".join(
            f"({expression}) AS {name}" for expression, name in zip(unique.expressions, names, strict=True)
        )
        cells = ", ".join(f"{self.cell(name)} AS {quote(name)}" for name in unique.columns)
        match = " AND ".join(
            f"(t.{name} {operator} s.{name}"
            + (f" OR (t.{name} IS NULL AND s.{name} IS NULL))" if unique.nulls_equal else ")")
            for operator, name in zip(unique.operators, names, strict=True)
        )
        itself = f" AND NOT (b.what = 'u' AND {self.same_key()})" if self.key is not None else ""
        if unique.is_deferrable and self.key is not None:
            # It is checked when all rows have been set back: what a row to be set back holds now, is free then.
            itself += (
                f" AND NOT (b.what = 'u' AND EXISTS (SELECT FROM {self.table} AS o WHERE o.what = 'u' AND o.reason IS NULL "
                f"AND {self.same_key('o')}))"
            )
        self.execute(
            f"UPDATE {self.table} AS b SET reason = $1 FROM "
            f"(SELECT {_ROW}, {keys} FROM (SELECT n AS {_ROW}, {cells} FROM {self.table} WHERE what <> 'o' AND reason IS NULL) AS x{where}) AS s "
            f"JOIN (SELECT t.*, {keys} FROM {self.now.source}{where}) AS t ON {match} "
            f"WHERE b.n = s.{_ROW}{itself}",
            [f"another row has the same value in {unique.words}"],
        )

    def _count_contents(self, restored: Connection) -> None:
        """Without a key: no more rows of one content come back than there were, less those that others deleted."""
        counts = f"pg_temp.counts_{self.number}"
        self.execute(f"CREATE TEMPORARY TABLE {counts} (content text, times bigint) ON COMMIT DROP")
        plain = [name for name in self.columns if name not in self.now.generated]
        statement = f"COPY {counts} FROM STDIN"
        with self.production.cursor() as cursor, cursor.copy(statement) as copy:
            for row in copy_rows(restored, hash_query(self.then, plain)):
                copy.write_row(row)
        self.execute(f"ANALYZE {counts}")
        staged = f"(SELECT {', '.join(['n', 'what', 'reason', *(f'{self.cell(name)} AS {quote(name)}' for name in plain)])} FROM {self.table}) AS t"
        self.execute(
            f"WITH mine AS (SELECT n, content, row_number() OVER (PARTITION BY content ORDER BY n) AS nth FROM "
            f"(SELECT t.n, {content_hash(plain)} AS content FROM {staged} WHERE t.what = 'i' AND t.reason IS NULL) AS a), "
            f"theirs AS (SELECT {content_hash(plain)} AS content, count(*) AS times FROM {staged} WHERE t.what = 'o' GROUP BY 1), "
            f"there AS (SELECT {content_hash(plain)} AS content, count(*) AS times FROM {self.now.source} GROUP BY 1) "
            f"UPDATE {self.table} AS b SET reason = $1 FROM mine LEFT JOIN {counts} AS c USING (content) "
            "LEFT JOIN theirs USING (content) LEFT JOIN there USING (content) WHERE b.n = mine.n "
            "AND mine.nth > coalesce(c.times, 0) - coalesce(theirs.times, 0) - coalesce(there.times, 0)",
            [SAME_CONTENT],
        )

    def find_orphans(self, staged: Sequence[Staged]) -> int:
        """Rows whose parent is neither there nor coming back have their reason; how many they are. Again, until there are none more."""
        found = 0
        for link in self.foreigns:
            if not set(link.columns) <= set(self.columns):
                continue
            pairs = list(zip(link.columns, link.parent_columns, link.operators, strict=True))
            there = " AND ".join(f"p.{quote(theirs)} {operator} b.{self.cell(own)}" for own, theirs, operator in pairs)
            given = " AND ".join(f"b.{self.cell(own)} IS NOT NULL" for own in link.columns)
            coming = down = ""
            for other in staged:
                is_parent = (link.parent_schema, link.parent_name) in ((other.now.schema, other.now.name), other.root)
                if is_parent and set(link.parent_columns) <= set(other.columns):
                    same = " AND ".join(
                        f"p.{other.cell(theirs)} {operator} b.{self.cell(own)}" for own, theirs, operator in pairs
                    )
                    coming += f" AND NOT EXISTS (SELECT FROM {other.table} AS p WHERE p.what = 'i' AND p.reason IS NULL AND {same})"
                    down = same if other is self else down
            orphaned = f"b.what <> 'o' AND b.reason IS NULL AND {given} AND NOT EXISTS (SELECT FROM {link.parent} WHERE {there})"
            lost = f"SELECT b.n FROM {self.table} AS b WHERE {orphaned}{coming}"
            if down:
                # A tree's whole branch at once: a chain may be as long as the table.
                self._index(link.columns)
                lost += (
                    f" UNION SELECT b.n FROM lost JOIN {self.table} AS p ON p.n = lost.n AND p.what = 'i' "
                    f"JOIN {self.table} AS b ON {down} AND {orphaned}"
                )
            counted = one(
                self.production,
                f"WITH RECURSIVE lost (n) AS ({lost}), said AS (UPDATE {self.table} AS b SET reason = $1 FROM lost "
                "WHERE b.n = lost.n RETURNING 1) SELECT count(*) AS number FROM said",
                [
                    f"the row that {link.name} ({', '.join(link.columns)}) points to is gone from {link.parent_schema}.{link.parent_name}"
                ],
            )
            found += counted["number"]
        return found

    def _index(self, columns: Sequence[str]) -> None:
        """Rows are found by their number and by these columns; once is enough."""
        for name, listed in (("n", "n"), ("c".join(map(self.cell, columns)), ", ".join(map(self.cell, columns)))):
            self.execute(f"CREATE INDEX IF NOT EXISTS back_{self.number}_{name} ON {self.table} ({listed})")

    # -- what came of it

    def fill_report(self) -> None:
        """The report has the numbers, the reasons and the first conflicts."""
        report = self.report
        report.insert = report.set_back = report.present = 0
        report.reasons, report.conflicts = {}, []
        for row in rows(
            self.production,
            f"SELECT what, reason, count(*) AS number FROM {self.table} WHERE what <> 'o' GROUP BY what, reason",
        ):
            if row["reason"] is None and row["what"] == "i":
                report.insert = row["number"]
            elif row["reason"] is None:
                report.set_back = row["number"]
            elif row["reason"] == PRESENT:
                report.present += row["number"]
            else:
                report.reasons[row["reason"]] = report.reasons.get(row["reason"], 0) + row["number"]
        key = self.key_columns
        texts = ", ".join(f"{self.cell(name)}::text" for name in key)
        for row in rows(
            self.production,
            f"SELECT reason, place, ARRAY[{texts}]::text[] AS key FROM {self.table} "
            f"WHERE what <> 'o' AND reason <> $1 ORDER BY n LIMIT {LISTED}",
            [PRESENT],
        ):
            values = dict(zip(key, row["key"], strict=True))
            report.conflicts.append(Conflict(report.table, values, row["place"], row["reason"]))
