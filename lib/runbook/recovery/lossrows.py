"""The rows that a recovery discards, as far as they can be had, written to loss files.

Inserted and updated rows are read from the damaged server, deleted and older ones from the copy restored to the target. Where the WAL
says that nothing was deleted from a table, only rows whose xmin is a discarded transaction are read; else both tables are walked
through in the order of their keys. Content decides in the end: a row that is the same on both sides is no loss, so an xmin
of an earlier epoch, a frozen one or a rewritten table do no harm. Memory stays flat.

A table of the damaged server on which nothing may be planned is read by COPY, from end to end, and compared outside: who wrote a row is
not known then. So is one whose key has columns of the application's own types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

from runbook.errors import PlatformError
from runbook.postgres import closure
from runbook.postgres.connect import Connection, SqlError, one, rows
from runbook.recovery.deletions import RowFates
from runbook.recovery.loss import Loss, TableLoss
from runbook.recovery.lossfiles import LossFiles, TableFile
from runbook.recovery.lossreport import DAMAGED, RESTORED, TableRows
from runbook.recovery.relnames import RelationName
from runbook.recovery.rowdiffs import RowDiffs
from runbook.recovery.rowstreams import Key, Row, batches, copy_rows, key_of, side_by_side
from runbook.recovery.tableshape import (
    PLACE,
    TableShape,
    all_rows,
    content_hash,
    fetch_by_key,
    find_shape,
    hash_query,
    is_empty,
    key_query,
    row_columns,
    rows_query,
)

Open = Callable[[str], Connection]


class Side:
    """A table on one server, in a snapshot: one connection streams, the other fetches."""

    def __init__(self, server: str, open_: Open) -> None:
        self.server, self._open = server, open_
        self._connections: list[Connection] = []
        self.shape: TableShape | None = None

    def look_at(self, name: RelationName, stack: ExitStack) -> None:
        """Both connections are in a snapshot, open as long as the stack is, and the table's shape there is known."""
        for _ in range(2):
            self._connections.append(stack.enter_context(self._open(name.database_name)))
            self._connections[-1].execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        self.stream, self.fetching = self._connections
        # The restored copy reaches nothing but itself: a role without rights may plan on all of it.
        is_harmless = self.server == RESTORED and not is_superuser(self.stream)
        self.shape = find_shape(self.stream, name, {} if is_harmless else closure.untrusted(self.stream))
        self.encoding = str(one(self.stream, "SELECT pg_catalog.current_setting('server_encoding') AS name")["name"])

    @property
    def is_lost(self) -> bool:
        return any(connection.closed for connection in self._connections)

    @property
    def has_failed(self) -> bool:
        """True when it was this server that refused something."""
        return any(connection.has_failed for connection in self._connections)

    def rows(self) -> Iterator[Row]:
        """All rows, with their places where a statement may be planned."""
        assert self.shape is not None
        if self.shape.untrusted is not None:
            return all_rows(self.stream, self.shape)
        return copy_rows(self.stream, rows_query(self.shape))

    @property
    def has_rows(self) -> bool:
        return self.shape is not None and not is_empty(self.stream, self.shape)


def is_superuser(connection: Connection) -> bool:
    """Return True when what runs in this session has a superuser's rights."""
    return bool(one(connection, "SELECT pg_catalog.current_setting('is_superuser') = 'on' AS found")["found"])


def write_loss_rows(
    loss: Loss,
    files: LossFiles,
    *,
    open_damaged: Open | None,
    open_restored: Open | None,
    deleted_by_others: RowFates | None = None,
    progress: Callable[[str, int, int], None] = lambda label, done, total: None,
) -> list[TableRows]:
    """The discarded rows of every table lie in files, with a manifest; what each holds.

    Nothing is written to either server. The damaged one must not be written to by others meanwhile.

    Args:
        open_damaged: a connection to a database of the damaged server, None when it cannot be reached.
        open_restored: the same of the copy restored to the target, paused (or promoted and not written to); None before there is one: deleted and older rows are
            not had then, and inserted ones are not told from updated ones (`written`).
        deleted_by_others: what became of each row that was there at the target (see `deletions`); None: not looked for.
        progress: called with a table's title, tables done and in total.

    Raises:
        PlatformError: a server was lost, or the files cannot be written.
    """
    files.prepare()
    found: list[TableRows] = []
    tables = sorted(loss.tables.values(), key=lambda table: table.title)
    for number, table in enumerate(tables):
        progress(table.title, number, len(tables))
        report = TableRows(table.title, None)
        if table.name is None:
            report.limit(f"{table.title}: nobody knows which table this file was; its rows cannot be looked for")
        elif table.name.kind == "m":
            report.notes.append("a materialized view: REFRESH fills it again")
        elif table.name.is_user_data:
            report.limit(f"{table.title}: not in loss files; the restored copy has them (lo_get)")
        else:
            _write_table(loss, table, files, report, open_damaged, open_restored, deleted_by_others)
        found.append(report)
        files.entries.append(report.manifest_entry(table))
    progress("manifest", len(tables), len(tables))
    files.finish({"loss": loss.facts(), "has deleted and older rows": open_restored is not None})
    return found


def _write_table(
    loss: Loss,
    table: TableLoss,
    files: LossFiles,
    report: TableRows,
    open_damaged: Open | None,
    open_restored: Open | None,
    deleted_by_others: RowFates | None,
) -> None:
    assert table.name is not None
    name = table.name
    damaged = Side(DAMAGED, open_damaged) if open_damaged else None
    restored = Side(RESTORED, open_restored) if open_restored else None
    sides = [side for side in (damaged, restored) if side is not None]
    with ExitStack() as stack:
        try:
            for side in sides:
                side.look_at(name, stack)
            writer = _Writer(loss, table, damaged, restored, deleted_by_others)
            if not writer.columns:
                report.notes.append("the table is on neither server")
                return
            with files.open_table(name.database_name, name.schema, name.name, writer.columns) as out:
                writer.write(out)
        except SqlError as problem:
            if any(side.is_lost for side in sides):
                raise PlatformError(
                    f"A server was lost while {table.title} was read: {str(problem).strip()}"
                ) from problem
            report.fail(problem, next((side.server for side in sides if side.has_failed), DAMAGED))
            return
        report.notes += writer.notes
        if out.written is not None:
            report.operations = out.written.operations
            report.file = out.written.file if out.written.rows else None
            report.written = out.written


class _Writer:
    """Finds one table's rows and writes them."""

    def __init__(
        self,
        loss: Loss,
        table: TableLoss,
        damaged: Side | None,
        restored: Side | None,
        deleted_by_others: RowFates | None,
    ) -> None:
        self.loss, self.table = loss, table
        self.damaged, self.restored = damaged, restored
        self.deleted_by_others = deleted_by_others
        self.notes: list[str] = []
        self.now = damaged.shape if damaged else None
        self.then = restored.shape if restored else None
        self.columns = list(
            dict.fromkeys([*(self.then.columns if self.then else ()), *(self.now.columns if self.now else ())])
        )
        # Values of a column that is gone differ from nothing: every row that had one has lost it.
        self.gone = [name for name in self.columns if self.now and not self._has(self.now, name)]
        self.common = [name for name in self.columns if self._has(self.now, name) and self._has(self.then, name)]
        self.key = self._find_key()

    @staticmethod
    def _has(shape: TableShape | None, column: str) -> bool:
        return shape is not None and column in shape.columns

    def _find_key(self) -> tuple[str, ...]:
        key = self.then.key if self.then else self.now.key if self.now else ()
        if self.now is not None and not all(name in self.now.columns for name in key):
            return ()
        return key

    def write(self, out: TableFile) -> None:
        """All rows that can be had are in the file."""
        self._note_limits()
        if self.damaged is None:
            return
        if self.now is None:
            self._write_whole(out, self.restored, "deleted")
        elif self.restored is None:
            if self.now.untrusted is None:
                self._write_marked(out, "written")
        elif self.then is None:
            self._write_whole(out, self.damaged, "inserted")
        elif self.table.may_lack_rows and not self.damaged.has_rows:
            self._write_whole(out, self.restored, "deleted")
        elif self._is_compared_outside():
            self._write_differing(out)
        elif self.key:
            for keys in batches(self._compared_keys() if self.table.may_lack_rows else self._marked_keys()):
                self._write_keys(out, keys)
        elif self.table.may_lack_rows or self.table.others.updated or self.table.damage.updated:
            self._write_by_content(out)
        else:
            self._write_marked(out, "inserted")

    def _note_limits(self) -> None:
        if self.damaged is None:
            self.notes.append("the damaged server cannot be reached: its rows are counted and not had")
        elif self.restored is None:
            self.notes.append("no restored copy yet: deleted and older rows are counted and not had")
        elif not self.key:
            lost = f"; values of {', '.join(self.gone)} are in the restored copy only" if self.gone else ""
            self.notes.append(f"no key identifies a row: an updated row shows as deleted and inserted{lost}")
        if self.now is not None and self.now.untrusted is not None:
            had = (
                "its rows are counted and not read"
                if self.restored is None
                else "it is read by COPY, so who wrote a row is not known"
            )
            self.notes.append(f"planning on it would run {self.now.untrusted}: {had}")

    def _is_compared_outside(self) -> bool:
        """True when a server may not compare the rows: nothing may be planned, or the key has types of the application's."""
        shapes = [shape for shape in (self.now, self.then) if shape is not None]
        return any(shape.untrusted is not None or not shape.may_compare(self.key) for shape in shapes)

    # -- which keys

    def _marked(self) -> str:
        """Rows that a discarded transaction wrote. Raw xmin stays readable after freezing."""
        everyone = self.loss.xids.literal(), self.loss.damage_xids.literal()
        return " OR ".join(f"t.xmin = ANY ('{listed}'::xid[])" for listed in everyone)

    def _marked_keys(self) -> Iterator[Key]:
        assert self.damaged is not None and self.now is not None
        query = key_query(self.now, self.key, self.damaged.encoding, self._marked(), in_order=False)
        return (key_of(row) for row in copy_rows(self.damaged.stream, query))

    def _compared_keys(self) -> Iterator[Key]:
        """Keys on one side only, or of another version on the other: two ordered streams side by side."""
        assert self.damaged is not None and self.restored is not None
        assert self.now is not None and self.then is not None
        now = copy_rows(self.damaged.stream, key_query(self.now, self.key, self.damaged.encoding, in_order=True))
        then = copy_rows(self.restored.stream, key_query(self.then, self.key, self.restored.encoding, in_order=True))
        for here, there in side_by_side(now, then):
            row = here or there
            if row is not None and (here is None or there is None or here[-1] != there[-1] or self.gone):
                yield key_of(row)

    # -- rows

    def _write_keys(self, out: TableFile, keys: list[Key]) -> None:
        assert self.damaged is not None and self.restored is not None
        assert self.now is not None and self.then is not None
        now = fetch_by_key(self.damaged.fetching, self.now, self.key, keys)
        then = fetch_by_key(self.restored.fetching, self.then, self.key, keys)
        for key in keys:
            new, old = now.get(key), then.get(key)
            if new is not None and old is not None:
                is_same = self._content(new, self.now) == self._content(old, self.then)
                if is_same and not self._has_lost_values(old, self.then):
                    continue
                self._add(out, "updated_old", self.then, old, written_by=new)
                self._add(out, "updated_new", self.now, new, written_by=new)
            elif new is not None:
                self._add(out, "inserted", self.now, new, written_by=new)
            elif old is not None:
                self._add(out, "deleted", self.then, old)

    def _content(self, row: Row, shape: TableShape) -> tuple[str | None, ...]:
        cells = dict(zip(shape.columns, row[PLACE:], strict=True))
        return tuple(cells[name] for name in self.common)

    def _has_lost_values(self, old: Row, then: TableShape) -> bool:
        return any(old[PLACE + then.columns.index(name)] is not None for name in self.gone)

    def _write_whole(self, out: TableFile, side: Side | None, operation: str) -> None:
        if side is None or side.shape is None:
            return
        for row in side.rows():
            self._add(out, operation, side.shape, row, written_by=None if operation == "deleted" else row)

    def _write_differing(self, out: TableFile) -> None:
        """Both sides are read from end to end, twice: to find what differs, and to write it."""
        sides = [(side, side is self.damaged) for side in (self.restored, self.damaged) if side is not None]
        computed = {name for side, _ in sides if side.shape is not None for name in side.shape.generated}
        common = [name for name in self.common if name not in computed]
        with ExitStack() as stack:
            diffs = {}
            for side, is_now in sides:
                assert side.shape is not None
                columns = side.shape.columns
                diffs[is_now] = (
                    [PLACE + columns.index(name) for name in self.key],
                    [PLACE + columns.index(name) for name in common],
                )
            found = RowDiffs(diffs)
            stack.callback(found.close)
            for side, is_now in sides:
                found.feed(side.rows(), is_now=is_now)
            for side, is_now in sides:
                assert side.shape is not None
                for row in side.rows():
                    operation, writer = found.judge(row, is_now=is_now)
                    if operation is not None:
                        by = None if operation == "deleted" else (writer,)
                        self._add(out, operation, side.shape, row, written_by=by)

    def _write_marked(self, out: TableFile, operation: str) -> None:
        assert self.damaged is not None and self.now is not None
        for row in copy_rows(self.damaged.stream, rows_query(self.now, self._marked())):
            self._add(out, operation, self.now, row, written_by=row)

    def _write_by_content(self, out: TableFile) -> None:
        """Without a key: contents that stand more often on one side than on the other."""
        assert self.damaged is not None and self.restored is not None
        assert self.now is not None and self.then is not None
        now = copy_rows(self.damaged.stream, hash_query(self.now, self.common))
        then = copy_rows(self.restored.stream, hash_query(self.then, self.common))
        differing = (
            (key_of(here or there or ()), int(here[-1] or 0) if here else 0, int(there[-1] or 0) if there else 0)
            for here, there in side_by_side(now, then)
        )
        for part in batches(item for item in differing if item[1] != item[2]):
            added = {key[0]: here - there for key, here, there in part if here > there}
            gone = {key[0]: there - here for key, here, there in part if there > here}
            self._write_contents(out, self.damaged, "inserted", added)
            self._write_contents(out, self.restored, "deleted", gone)

    def _write_contents(self, out: TableFile, side: Side, operation: str, wanted: dict[str, int]) -> None:
        if not wanted or side.shape is None:
            return
        text = content_hash(self.common)
        query = (
            f"SELECT ARRAY[{row_columns(side.shape, as_text=True)}] AS cells, {text} AS hash "
            f"FROM {side.shape.source} WHERE {text} = ANY ($1::text[])"
        )
        found = rows(side.fetching, query, [list(wanted)])
        # Of equal rows, those that a discarded transaction wrote are the new ones.
        found.sort(key=lambda item: operation == "inserted" and self._whose(tuple(item["cells"])) == "unknown")
        for item in found:
            if wanted[item["hash"]] > 0:
                wanted[item["hash"]] -= 1
                row = tuple(item["cells"])
                self._add(out, operation, side.shape, row, written_by=None if operation == "deleted" else row)

    def _add(
        self, out: TableFile, operation: str, shape: TableShape, row: Row, *, written_by: Row | None = None
    ) -> None:
        cells = dict(zip(shape.columns, row[PLACE:], strict=True))
        by = self._whose_delete(row) if written_by is None else self._whose(written_by)
        xid = None if written_by is None else written_by[0]
        out.add(operation, by, xid, [cells.get(name) for name in self.columns])

    def _whose(self, row: Row) -> str:
        xid = int(row[0] or 0)
        return "damage" if xid in self.loss.damage_xids else "other" if xid in self.loss.xids else "unknown"

    def _whose_delete(self, row: Row) -> str:
        ours, others = self.table.damage, self.table.others
        taken = [said for said in self.table.fates if "(damage)" in said]
        taken_by_others = len(taken) < len(self.table.fates)
        if not (others.deleted or others.moved or taken_by_others):
            return "damage" if ours.deleted or ours.moved or taken else "unknown"
        if not (ours.deleted or ours.moved or taken):
            return "other"
        if self.deleted_by_others is None or self.table.name is None:
            return "unknown"
        fate = self.deleted_by_others.of((self.table.name.database, int(row[2] or 0)), row[1] or "")
        if fate in ("other", "moved"):
            return "other"
        if fate in ("damage", "older", "updated") or (taken and not taken_by_others):
            return "damage"
        return "unknown"
