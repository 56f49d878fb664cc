"""Lost rows written to production's tables, in the session of a role without rights: what triggers and constraints say to it, counts.

The rows lie in temporary tables of that session. Each statement has a savepoint: where something refuses, halves are tried, down to the
row, which is listed. The session's role is set before every statement, and constraints are immediate, so that nothing waits for COMMIT.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from runbook.errors import PlatformError
from runbook.postgres.connect import Connection, SqlError, one, quote, rows
from runbook.recovery.copystage import Staged
from runbook.recovery.loss import Xids
from runbook.recovery.tablelinks import behind, in_order, read_sequences
from runbook.recovery.tabletriggers import read_triggers
from runbook.recovery.writers import Writer
from runbook.texts import visible_line

#: Classes of errors that are not the row's: the server or the session cannot go on, or somebody holds a lock.
_NOT_THE_ROWS = ("08", "40", "53", "55", "57", "58", "XX")
#: So many rows of a table are refused one by one; after that, what is refused together is listed together.
_ONE_BY_ONE = 500


def insert_order(staged: Sequence[Staged]) -> list[list[Staged]]:
    """Return the tables, parents first; those whose foreign keys go in a circle together."""
    numbers = {(one.now.schema, one.now.name): one.number for one in staged}
    numbers |= {one.root: one.number for one in staged if one.root is not None and one.root not in numbers}
    parents = {
        one.number: {
            numbers[link.parent_schema, link.parent_name]
            for link in one.foreigns
            if (link.parent_schema, link.parent_name) in numbers
        }
        for one in staged
    }
    by_number = {one.number: one for one in staged}
    return [[by_number[number] for number in group] for group in in_order(parents)]


#: How the reasons of rows begin that the server has refused.
REFUSED, TOGETHER = "the table refuses it", "the tables that need each other refuse it"


@dataclass
class Writing:
    """The rows of some tables on their way in. `ours` are the transaction's parts that wrote, as xmin shows them."""

    writer: Writer
    damage: Xids
    restored: Connection
    reader: Connection
    ours: set[str] = field(default_factory=set)
    _refused: int = 0

    @property
    def _connection(self) -> Connection:
        return self.writer.connection

    def write(self, groups: Sequence[Sequence[Staged]]) -> None:
        """All rows that nothing refuses are in; those that something refuses have its words as their reason.

        Raises:
            SqlError: the server cannot go on, or a lock is held.
        """
        if groups:
            self._execute("CREATE TEMPORARY TABLE runbook_part (n int)")
        for group in groups:
            for table in group:
                self._lay(table)
        # Only now: what was laid ready was read with our own settings.
        self.writer.take_settings()
        tables = [table for group in groups for table in group]
        for table in tables:
            self._leave_out_triggers(table)
        self._execute("SET CONSTRAINTS ALL IMMEDIATE")
        for group in groups:
            self._insert(group)
        for table in tables:
            self._set_back(table)
            self._raise_sequences(table)
            table.report.notes += [note for note in self.writer.notes if note not in table.report.notes]
        # What a trigger has deferred meanwhile happens now: a table with such events cannot be altered.
        self._execute("SET CONSTRAINTS ALL IMMEDIATE")
        self._execute("SET LOCAL search_path = pg_catalog, pg_temp")  # the application's may have operators of its own
        if any(
            trigger.fires and trigger.name not in one_.report.left_out
            for one_ in tables
            for trigger in one_.report.triggers
        ):
            for table in tables:
                self._note_parts(table)
        for table in tables:
            self._put_triggers_back(table)

    def _execute(self, statement: str) -> int:
        self.writer.work_as()
        return self._connection.execute(self._connection.encoded(statement)).rowcount

    @staticmethod
    def _name(table: Staged) -> str:
        return f"pg_temp.back_{table.number}"

    def _cell(self, table: Staged, column: str) -> str:
        return f"c{table.columns.index(column)}"

    def _lay(self, table: Staged) -> None:
        kept = [name for name in table.columns if name in table.plain]
        columns = "".join(f", {self._cell(table, name)} {table.now.types[name]}" for name in kept)
        self._execute(
            f"CREATE TEMPORARY TABLE back_{table.number} (n bigint PRIMARY KEY, what text, writer xid, there tid{columns})"
        )
        listed = ", ".join(["n", "what", "writer", "there", *(self._cell(table, name) for name in kept)])
        places = table.places(kept)
        with (
            self._connection.cursor() as cursor,
            cursor.copy(self._connection.encoded(f"COPY {self._name(table)} ({listed}) FROM STDIN")) as copy,
        ):
            for page in table.ledger.pages(table.number, "what <> 'o' AND reason IS NULL"):
                for row in page:
                    copy.write_row(
                        (row.n, row.what, row.writer or None, row.there, *(row.cells[place] for place in places))
                    )
        self._execute(f"ANALYZE {self._name(table)}")

    # -- triggers

    def _note_parts(self, table: Staged) -> None:
        """A block with EXCEPTION in a trigger's function is a part of the transaction, too: rows that it wrote are ours. What this
        session sees of a transaction that is still in progress is its own."""
        if table.key is None or table.report.is_made_again:
            return
        now = "pg_catalog.pg_current_xact_id()::text::pg_catalog.int8"
        # With its epoch; parts of this transaction are younger than itself.
        whole = f"({now} + ((t.xmin::text::pg_catalog.int8 - {now} + 2147483648) & 4294967295) - 2147483648)::text::pg_catalog.xid8"
        query = (
            f"SELECT DISTINCT t.xmin::text AS xid FROM {table.now.source} JOIN {self._name(table)} AS b ON {self._same(table)} "
            f"WHERE t.xmin::text <> ALL ($1::text[]) AND pg_catalog.pg_xact_status({whole}) = 'in progress'"
        )
        self.writer.work_as()
        self.ours.update(row["xid"] for row in rows(self._connection, query, [sorted(self.ours)]))

    def _leave_out_triggers(self, table: Staged) -> None:
        """Those that were decided on do not fire in this transaction; nobody else sees that."""
        for trigger in table.report.triggers:
            if trigger.fires and trigger.name in table.report.left_out:
                self._alter(trigger.set_to("D"), f"while trigger {trigger.name} of {trigger.relation} was left out")

    def _put_triggers_back(self, table: Staged) -> None:
        """They are as they were before, which is read again ahead of the COMMIT."""
        if not table.report.left_out:
            return
        for trigger in table.report.triggers:
            if trigger.fires and trigger.name in table.report.left_out:
                self._alter(
                    trigger.set_to(trigger.state), f"while trigger {trigger.name} of {trigger.relation} was put back"
                )
        self.writer.work_as()
        if read_triggers(self._connection, table.now.oid) != table.report.triggers:
            raise PlatformError(
                f"The triggers of {table.report.table} are not as they were after its rows were written: nothing of this transaction was kept.",
                next="See who changes triggers (an event trigger, a trigger's own function), then plan again.",
            )

    def _alter(self, statement: str, doing: str) -> None:
        try:
            self._execute(statement)
        except SqlError as problem:
            problem.add_note(doing)
            raise

    # -- trying

    def _try(self, statement: str) -> str | None:
        """The statement has run; or nothing of it has, and these are the server's words."""
        self._connection.execute("SAVEPOINT part")
        try:
            self._execute(statement)
            self.writer.work_as()
            part = one(self._connection, "INSERT INTO pg_temp.runbook_part VALUES (1) RETURNING xmin::text AS xid")
            self.ours.add(part["xid"])
            self._connection.execute("RELEASE part")
        except SqlError as problem:
            if self._connection.closed or (problem.sqlstate or "XX")[:2] in _NOT_THE_ROWS:
                raise
            self._connection.execute("ROLLBACK TO part")
            self._connection.execute("RELEASE part")
            return words_of(problem)
        return None

    def _try_rows(self, table: Staged, what: str, statement: str) -> int:
        """The statement, with `{rows}` for which of the rows, has run for all that nothing refuses; how many are left out.

        Rows of a table that points to itself may need each other: what was left out is tried again as long as that helps.
        """
        numbers = [
            row.n for page in table.ledger.pages(table.number, f"what = '{what}' AND reason IS NULL") for row in page
        ]
        is_first = True
        while numbers:
            left: dict[int, str] = {}
            self._refused = 0
            self._halve(statement, numbers, left, is_first)
            is_first = False
            again = len(left) < len(numbers) and any(link.parent_name == table.now.name for link in table.foreigns)
            if not (left and again):
                table.ledger.speak(table.number, left.items())
                return len(left)
            numbers = sorted(left)
        return 0

    def _halve(self, statement: str, numbers: list[int], left: dict[int, str], is_all: bool) -> None:
        """Rows that are refused are in `left`. `is_all`: these are all that lie between the first and the last."""
        among = f"b.n BETWEEN {numbers[0]} AND {numbers[-1]}"
        if not is_all:
            among += f" AND b.n = ANY ('{{{','.join(map(str, numbers))}}}'::pg_catalog.int8[])"
        said = self._try(statement.replace("{rows}", among))
        if said is None:
            return
        if len(numbers) == 1 or self._refused >= _ONE_BY_ONE:
            self._refused += len(numbers)
            left.update(dict.fromkeys(numbers, f"{REFUSED}: {said}"))
            return
        middle = len(numbers) // 2
        self._halve(statement, numbers[:middle], left, is_all)
        self._halve(statement, numbers[middle:], left, is_all)

    # -- rows

    def _insert(self, group: Sequence[Staged]) -> None:
        if len(group) == 1:
            self._try_rows(group[0], "i", self._insertion(group[0]))
            return
        # In one statement: foreign keys are looked at when it ends, so rows may need each other.
        parts = ", ".join(f"i{table.number} AS ({self._insertion(table)})" for table in group)
        said = self._try(f"WITH {parts} SELECT 1".replace("{rows}", "true"))
        if said is not None:
            for table in group:
                rows = [
                    row.n for page in table.ledger.pages(table.number, "what = 'i' AND reason IS NULL") for row in page
                ]
                table.ledger.speak(table.number, [(n, f"{TOGETHER}: {said}") for n in rows])

    def _insertion(self, table: Staged) -> str:
        target = f"{quote(table.now.schema)}.{quote(table.now.name)}"
        into = ", ".join(map(quote, table.plain))
        cells = ", ".join(f"b.{self._cell(table, name)}" for name in table.plain)
        where = f"FROM {self._name(table)} AS b WHERE b.what = 'i' AND {{rows}}"
        if not table.plain:
            return f"INSERT INTO {target} SELECT {where}"
        # A deferrable key cannot be asked ahead of an insert; with policies, a row that the role does not see would be passed over.
        is_asked = not any(unique.is_deferrable for unique in table.uniques) and not table.has_policies
        clause = " ON CONFLICT DO NOTHING" if is_asked else ""
        return f"INSERT INTO {target} ({into}) OVERRIDING SYSTEM VALUE SELECT {cells} {where} ORDER BY b.n{clause}"

    def _set_back(self, table: Staged) -> None:
        """Rows that the damage changed have their old values again, in the columns that it changed."""
        changed = [
            name
            for name in table.plain
            if name in table.changed and name not in table.now.always and name not in table.now.key
        ]
        if not changed:
            return
        # A partitioned table is updated with its partitions, another one without its heirs.
        sets = ", ".join(f"{quote(name)} = b.{self._cell(table, name)}" for name in changed)
        written = (
            f"(t.xmin = b.writer OR b.writer IS NULL AND t.xmin = ANY ('{self.damage.literal()}'::pg_catalog.xid[]))"
        )
        statement = (
            f"UPDATE {table.now.source} SET {sets} FROM {self._name(table)} AS b "
            f"WHERE b.what = 'u' AND {{rows}} AND {self._same(table)} AND {written}"
        )
        self._try_rows(table, "u", statement)

    def _same(self, table: Staged) -> str:
        """The condition under which a row of the table is the one that was laid ready: its key, or its place where it has none."""
        if table.key is None:
            return "t.ctid = b.there"
        names = {quote(name): name for name in table.key.columns} | {name: name for name in table.key.columns}
        return " AND ".join(
            f"t.{quote(names[text])} {operator} b.{self._cell(table, names[text])}"
            for text, operator in zip(table.key.expressions, table.key.operators, strict=True)
        )

    def _raise_sequences(self, table: Staged) -> None:
        """The table's sequences are not behind those of the restored copy. Like every use of a sequence it is not rolled back."""
        source = self._connection if table.report.is_made_again else self.reader
        found = behind(read_sequences(source, table.now.oid), read_sequences(self.restored, table.then.oid))
        for now, then in found:
            name = f"{quote(now.schema)}.{quote(now.name)}".replace("'", "''")
            said = self._try(f"SELECT pg_catalog.setval('{name}'::pg_catalog.regclass, {then.last_value})")
            table.report.notes.append(
                f"sequence {now.name} set to {then.last_value:,}, as it was"
                if said is None
                else f"sequence {now.name} is behind, and was not set to {then.last_value:,}: {said}"
            )


#: Lines of an error's CONTEXT that name code and its place, in English or without any quote, in which a value would stand.
_PLACES = re.compile(
    r'PL/\w+ function .+ (line \d+ at [\w /]+|during [\w ]+)|PL/\w+ function "?[\w.]+"?|SQL function ".+" (statement \d+|during \w+)'
    r"|[^\"']*PL/\w+[^\"']*"
)
_MOST_PLACES = 5


def words_of(problem: SqlError) -> str:
    r"""Return the server's words but for its details, which hold the row's values; with the places of its CONTEXT.

    CONTEXT tells which trigger's function refused, and where. Its other lines (`SQL statement "…"`, parameters, JSON data) may hold values
    that a function has put into them: they are left out, and their number is said.
    """
    said = (problem.diag.message_primary or str(problem)).strip().splitlines()
    name = f" ({problem.diag.constraint_name})" if problem.diag.constraint_name else ""
    return (said[0] if said else "refused") + name + context_words(problem.diag.context)


def context_words(context: str | None) -> str:
    r"""Return the places of an error's CONTEXT in one line.

    >>> context_words('PL/pgSQL function audit() line 3 at SQL statement\nSQL statement "INSERT INTO t VALUES (\'secret\')"\nPL/pgSQL function f() line 1 at PERFORM')
    ', in PL/pgSQL function audit() line 3 at SQL statement, PL/pgSQL function f() line 1 at PERFORM'
    >>> context_words(None), context_words('unnamed portal parameter $1 = \'secret\'')
    ('', '')
    """
    lines = [line.strip() for line in (context or "").splitlines()]
    places = [visible_line(line) for line in lines if _PLACES.fullmatch(line)]
    more = len(places) - _MOST_PLACES
    return "".join(f"{',' if number else ', in'} {place}" for number, place in enumerate(places[:_MOST_PLACES])) + (
        f" and {more:,} more" if more > 0 else ""
    )
