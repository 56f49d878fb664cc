"""Count what the damage took of a table, twice: the rows that WAL names, and the rows in which the restored copy and production differ.

The two counts share no query: WAL names rows by their places in the restored copy, the comparison finds them by key (or by content,
where there is no key). Read-only on both sides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from runbook.errors import PlatformError
from runbook.postgres.connect import SqlError, rows
from runbook.postgres.sqlfiles import load_sql
from runbook.recovery.account import BY_TRIGGER, LATER, UNEXPLAINED, Counted
from runbook.recovery.copybackplan import Conflict
from runbook.recovery.deletions import FileKey, RowFates
from runbook.recovery.loss import Loss, TableLoss
from runbook.recovery.lossreport import DAMAGED, RESTORED
from runbook.recovery.lossrows import Open, Side
from runbook.recovery.lostrows import Relation, is_emptied, read_tree
from runbook.recovery.relnames import RelationName, quoted, relation_name
from runbook.recovery.rowdiffs import RowDiffs, digest
from runbook.recovery.rowstreams import Key, Row, batches, copy_rows, key_of, side_by_side
from runbook.recovery.tableshape import PLACE, TableShape, fetch_by_key, key_query
from runbook.recovery.transactions import Rows

#: Who touched a row of the restored copy, as WAL says: the damage removed it, the damage changed it, the damage changed it and others
#: removed it since, or others alone.
REMOVED, UPDATED, SINCE, THEIRS = "removed", "changed", "removed since", "others"
#: Altered rows of which it is not known in which columns they are: more than are held at once, or without a key.
_UNTOLD = "columns not told apart"
_MOST_ALTERED = 10_000
_COUNTS = ("wal", "later", "as_before", "altered", "by_others", "gone_since", "left", "unexplained", "by_triggers")
_GONE = ("dropped", "truncated", "emptied")


def count_table(
    loss: Loss,
    table: TableLoss,
    fates: RowFates | None,
    *,
    open_reader: Open,
    open_restored: Open,
    note: Callable[[Conflict], None] = lambda row: None,
) -> Counted:
    """Return both counts of one table, as it is now.

    Args:
        table: one whose name is known.
        fates: what became of each row, as `deletions.find_deletions` follows it; None: not followed.
        note: called with each row that is not in production as it was, by key and place; its reason is empty but for rows that the
            restored copy does not have.

    Raises:
        PlatformError: a server was lost.
    """
    assert table.name is not None
    name = table.name
    now, then = Side(DAMAGED, open_reader), Side(RESTORED, open_restored)
    with ExitStack() as stack:
        try:
            for side in (now, then):
                side.look_at(name, stack)
                for connection in (side.stream, side.fetching):
                    rows(connection, load_sql("recovery/lift_time_limits").text)
            return _TableCount(loss, table, fates, now, then, note).count()
        except SqlError as problem:
            if now.is_lost or then.is_lost:
                raise PlatformError(
                    f"A server was lost while the rows of {table.title} were counted: {str(problem).strip()}",
                    next="See its log; then resume.",
                ) from problem
            return Counted(name.database_name, table.title, problem=str(problem).strip().splitlines()[0])


class _TableCount:
    """One table while it is counted."""

    def __init__(
        self,
        loss: Loss,
        table: TableLoss,
        fates: RowFates | None,
        now: Side,
        then: Side,
        note: Callable[[Conflict], None],
    ) -> None:
        assert table.name is not None
        self._note = note
        self._loss, self._table, self._fates = loss, table, fates
        self._now, self._then = now, then
        self._name: RelationName = table.name
        self._counts: Counter[str] = Counter()
        self._columns: Counter[str] = Counter()
        self._theirs_gone = any(said.startswith(_GONE) and "(another" in said for said in table.fates)
        self._budget = table.others.deleted + table.others.moved + table.others.updated

    def count(self) -> Counted:
        problem = self._count()
        return Counted(
            self._name.database_name,
            self._table.title,
            **{name: self._counts[name] for name in _COUNTS},
            columns=dict(self._columns),
            problem=problem,
        )

    def _count(self) -> str | None:
        """Count; what stands against it."""
        then, now = self._then.shape, self._now.shape
        damage = self._table.damage
        if then is None:
            self._counts["later"] = damage.deleted + damage.updated
            return None
        if then.untrusted is not None:
            return f"planning on it in the restored copy would run {then.untrusted} as superuser"
        tree = read_tree(self._then.fetching, then.oid, self._name.database)
        self._emptied: set[FileKey] = {part.file for part in tree if part.file and is_emptied(part, self._loss)}
        followed = {(file.database, file.number) for file in self._loss.damage_files} if self._fates else set()
        here = read_tree(self._now.fetching, now.oid, self._name.database) if now is not None else []
        #: Files in which each row can be followed to the end.
        self._strict = {part.file for part in here if part.file in followed}
        if self._fates is None and not self._emptied and (damage.deleted or damage.updated or damage.moved):
            return "which rows the damage deleted or changed was not followed through WAL"
        for part in tree:
            self._count_in_wal(part)
        if now is None:
            for row in self._then.rows():
                self._judge(row, None)
        else:
            self._compare(then, now)
        return None

    # -- WAL's own count

    def _count_in_wal(self, part: Relation) -> None:
        """Rows of the restored copy at the places that WAL names; places at which the copy has none."""
        if part.file is None:
            return
        connection, source = self._then.fetching, f"ONLY {part.title} AS t"
        if part.file in self._emptied:
            theirs = 0
            for (ctid,) in copy_rows(self._then.stream, f"SELECT t.ctid::text FROM {source}"):
                touch = self._touch(part.file, ctid)
                theirs += touch in (THEIRS, SINCE)
                self._counts["wal"] += touch != THEIRS
            self._counts["later"] += self._lost_with(part.file, theirs)
        elif self._fates is not None:
            places = (
                ctid
                for ctid, fate in self._fates.touched(part.file)
                if fate != "other" or self._fates.was_changed(part.file, ctid)
            )
            for batch in batches(places):
                query = f"SELECT t.ctid::text AS place FROM {source} WHERE t.ctid = ANY ($1::tid[])"
                found = {row["place"] for row in rows(connection, query, [batch])}
                self._counts["wal"] += len(found)
                self._counts["later"] += len(batch) - len(found)
                for place in (place for place in batch if place not in found):
                    self._note(Conflict(self._table.title, {}, place, LATER))

    def _lost_with(self, file: FileKey, theirs: int) -> int:
        """Rows that others inserted into a file before the damage took it away: neither side has them."""
        if not any(said.startswith(_GONE) and "(damage)" in said for said in self._table.fates):
            return 0  # a rewrite: its rows are in another file
        found = 0
        for known, totals in self._loss.search.relations.items():
            if (known.database, known.number) == file:
                found += max(0, totals.rows.inserted - max(0, totals.rows.deleted - theirs))
        return found

    def _touch(self, file: FileKey, ctid: str | None) -> str | None:
        """Who touched this row since the recovery point; None: nobody that WAL names."""
        place = ctid or "(0,0)"
        fate = self._fates.of(file, place) if self._fates is not None else None
        if self._fates is not None and fate == "other" and self._fates.was_changed(file, place):
            return SINCE
        if file in self._emptied:
            return THEIRS if fate == "other" else REMOVED
        if fate is None:
            return None
        return {"damage": REMOVED, "older": REMOVED, "updated": UPDATED}.get(fate, THEIRS)

    def _touch_of(self, row: Row) -> str | None:
        return self._touch((self._name.database, int(row[2] or 0)), row[1])

    # -- the comparison

    def _compare(self, then: TableShape, now: TableShape) -> None:
        self._common = [
            name
            for name in then.columns
            if name in now.columns and name not in then.generated and name not in now.generated
        ]
        key = then.key if set(then.key) <= set(now.columns) else ()
        if key and then.may_compare(key) and now.may_compare(key):
            for keys in batches(self._differing_keys(then, now, key)):
                olds = fetch_by_key(self._then.fetching, then, key, keys)
                news = fetch_by_key(self._now.fetching, now, key, keys)
                for one_key, old in olds.items():
                    self._judge(old, news.get(one_key), self._differing(then, old, now, news.get(one_key)))
        else:
            self._compare_outside(then, now, key)

    def _differing_keys(self, then: TableShape, now: TableShape, key: tuple[str, ...]) -> Iterator[Key]:
        """Keys of the restored copy that production does not have, or has in another version."""
        past = copy_rows(self._then.stream, key_query(then, key, self._then.encoding, in_order=True))
        present = copy_rows(self._now.stream, key_query(now, key, self._now.encoding, in_order=True))
        for here, there in side_by_side(present, past):
            if there is not None and (here is None or here[-1] != there[-1]):
                yield key_of(there)

    def _differing(self, then: TableShape, old: Row, now: TableShape, new: Row | None) -> list[str]:
        if new is None:
            return []
        return [
            name
            for name in self._common
            if old[PLACE + then.columns.index(name)] != new[PLACE + now.columns.index(name)]
        ]

    def _compare_outside(self, then: TableShape, now: TableShape, key: tuple[str, ...]) -> None:
        """No server may compare the rows, or they have no key: hashes of both sides are compared here."""
        found = RowDiffs(
            {
                is_now: (
                    [PLACE + shape.columns.index(name) for name in key],
                    [PLACE + shape.columns.index(name) for name in self._common],
                )
                for is_now, shape in ((False, then), (True, now))
            }
        )
        altered_rows: dict[bytes, Row] = {}
        try:
            found.feed(self._then.rows(), is_now=False)
            found.feed(self._now.rows(), is_now=True)
            if key:
                for row in self._then.rows():
                    what, writer = found.judge(row, is_now=False)
                    self._judge(row, None if what == "deleted" else (writer,), [_UNTOLD] if what else [])
                    if what == "updated_old" and self._whose(writer) == "ours" and len(altered_rows) < _MOST_ALTERED:
                        altered_rows[digest([row[PLACE + then.columns.index(name)] for name in key])] = row
                self._tell_columns(then, now, key, altered_rows)
                return
            # Of equal rows, those that others removed are the missing ones, then those of the damage.
            for who in ((THEIRS, SINCE), (REMOVED, UPDATED), (None,)):
                for row in self._then.rows():
                    if self._touch_of(row) in who:
                        what, _ = found.judge(row, is_now=False)
                        self._judge(row, None if what else (None,))
            new = (found.judge(row, is_now=True) for row in self._now.rows())
            ours = sum(what == "inserted" and self._whose(writer) == "ours" for what, writer in new)
            altered = min(ours, self._counts["left"])
            triggered = min(ours - altered, self._counts["unexplained"])
            self._counts["left"] -= altered
            self._counts["altered"] += altered
            self._counts["unexplained"] -= triggered
            self._counts["by_triggers"] += triggered
            if altered:
                self._columns[_UNTOLD] += altered
        finally:
            found.close()

    def _tell_columns(self, then: TableShape, now: TableShape, key: tuple[str, ...], olds: dict[bytes, Row]) -> None:
        """Count the columns of altered rows, found again by the hash of their key."""
        if not olds:
            return
        places = [PLACE + now.columns.index(name) for name in key]
        for new in self._now.rows():
            old = olds.pop(digest([new[place] for place in places]), None)
            if old is not None and self._touch_of(old) in (REMOVED, UPDATED):
                self._columns.update(self._differing(then, old, now, new))
                self._columns[_UNTOLD] -= 1
        self._columns += Counter()  # without those whose columns are known

    def _whose(self, writer: str | None) -> str | None:
        if not writer:
            return None
        xid = int(writer)
        return "damage" if xid in self._loss.damage_xids else "others" if xid in self._loss.xids else "ours"

    def _judge(self, old: Row, new: Row | None, differing: list[str] | None = None) -> None:
        """Count one row of the restored copy. `new` is production's row of that key; `differing` the columns that are not the same."""
        touch = self._touch_of(old)
        if new is not None and not differing:
            self._counts["as_before"] += touch in (REMOVED, UPDATED, SINCE)
            return
        if touch == THEIRS:
            self._budget -= 1
            return
        whose = self._whose(new[0]) if new is not None else None
        if touch is None:
            if whose == "ours" and new is not None and new[0] != old[0]:
                self._counts["by_triggers"] += 1
                self._note(self._conflict(old, BY_TRIGGER))
            elif whose != "others" and not self._is_theirs(old):
                self._counts["unexplained"] += 1
                self._note(self._conflict(old, UNEXPLAINED))
        elif touch == SINCE:
            self._counts["gone_since"] += 1
        elif touch == UPDATED and whose == "others":
            self._counts["by_others"] += 1
        elif whose == "ours":
            self._counts["altered"] += 1
            self._columns.update(differing or [])
        else:
            self._counts["left"] += 1
            self._note(self._conflict(old))

    def _conflict(self, old: Row, reason: str = "") -> Conflict:
        shape = self._then.shape
        assert shape is not None
        return Conflict(
            self._table.title,
            {name: old[PLACE + shape.columns.index(name)] for name in shape.key},
            old[1] or "",
            reason,
        )

    def _is_theirs(self, old: Row) -> bool:
        """True where rows are not followed one by one, and WAL says that others removed or changed so many of the table."""
        if self._theirs_gone:
            return True
        if (self._name.database, int(old[2] or 0)) in self._strict or self._budget <= 0:
            return False
        self._budget -= 1
        return True


def count_unnamed(
    loss: Loss,
    number: int,
    database: str,
    known: set[int],
    count: Callable[[TableLoss], Counted],
    *,
    open_reader: Open,
    open_restored: Open,
) -> list[Counted]:
    """Return tables whose file is gone or another one since the recovery point, that lack rows, and that no suspect names.

    Args:
        number: the database's oid.
        known: oids of tables that are counted anyway.
        count: counts a table.

    Raises:
        PlatformError: a server cannot be reached, or its catalog not be read.
    """
    try:
        with open_restored(database) as then, open_reader(database) as now:
            query = load_sql("recovery/list_relation_names").text
            past = [relation_name(row, number, database, RESTORED) for row in rows(then, query)]
            present: dict[int, Any] = {row["oid"]: row["number"] for row in rows(now, query)}
    except SqlError as problem:
        raise PlatformError(
            f"The tables of {database} cannot be listed: {str(problem).strip()}",
            next="See the server's log; then resume.",
        ) from problem
    by_oid = {
        table.name.oid: table for table in loss.tables.values() if table.name and table.name.database_name == database
    }
    roots = {one_.oid: one_ for one_ in past}
    found: dict[int, TableLoss] = {}
    for name in past:
        is_same = name.oid in present and name.file is not None and present[name.oid] == name.file.number
        root = roots.get(name.root_oid or name.oid, name)
        if name.kind != "r" or name.is_catalog or is_same or root.oid in known:
            continue
        title = f"{quoted(root.schema)}.{quoted(root.name)}"
        found[root.oid] = by_oid.get(root.oid, TableLoss(title, root, Rows(), Rows()))
    counted = [count(table) for _, table in sorted(found.items())]
    return [one_ for one_ in counted if one_.differing or one_.later or one_.problem]
