"""Which transactions look like the damage: ranked, each with one sentence, and the recovery target just before it. Pure.

A score is the number of rows that were (probably) lost, times how unusual that is for the table: a nightly purge of 50,000 rows that
happens each night scores a tenth of a single DELETE of as many.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, replace

from runbook import clock
from runbook.errors import OperatorError
from runbook.platforms.cluster.window import RecoveryPoint
from runbook.postgres.wal import Commit, format_lsn
from runbook.recovery.bursts import Burst, find_bursts
from runbook.recovery.filechanges import FileChanges, classify
from runbook.recovery.forensics import WalSearch
from runbook.recovery.relnames import NameBook, counted
from runbook.recovery.transactions import RelFile, Rows, Transaction

#: Below it nobody is suspected: a single row deleted, as thousands are.
LEAST_SCORE = 1.0
#: What a table of unknown size counts as.
_UNKNOWN_ROWS = 1000.0
#: An UPDATE leaves the row; a TRUNCATE or DROP leaves nothing that a query could still save.
_UPDATE_WEIGHT, _WHOLE_TABLE_WEIGHT, _DATABASE_WEIGHT = 0.5, 2.0, 1e6
#: A dropped column takes one value of each row along; a rewrite to another type may have lost some; where nobody knows which, even less.
_COLUMN_WEIGHTS = {"drop column": 0.5, "alter column": 0.25, "alter table": 0.05}
#: So many times the usual number of rows is wholly unusual.
_UNUSUAL = 10.0


@dataclass(frozen=True)
class Suspect:
    """What may be the damage. `commit` is its (first) commit, `before` the commit ahead of it, `last` its last one.

    `kind` is delete, update, truncate, drop, drop database or many deletes. `rows` is None where nobody counted. `xids` are
    its transactions (`has_all_xids` False: more of them than were kept). `prepared` are those of them that were prepared first, with the
    position of their PREPARE TRANSACTION (None: before the WAL that was read).
    """

    kind: str
    score: float
    sentence: str
    commit: Commit
    before: Commit | None
    last: Commit
    transactions: int
    tables: tuple[str, ...]
    rows: int | None
    xids: frozenset[int]
    has_all_xids: bool = True
    same_second: int | None = None
    is_whole: bool = True
    first_lock: int | None = None
    prepared: tuple[tuple[int, int | None], ...] = ()

    def returning(self, gate: int) -> list[int]:
        """Its transactions that a recovery to `gate` brings back as prepared ones."""
        return [xid for xid, at in self.prepared if at is None or at < gate]


@dataclass(frozen=True)
class RecoveryTarget:
    """A point to recover to: the first record at or behind `gate` is not replayed.

    The gate stands right behind the last commit included, not at the first one left out: between them lie only records of
    transactions that are not committed, and among them the exclusive locks of a TRUNCATE or DROP, which a server that is paused
    in recovery would hold: its tables could not be read. `is_locked` says that the lock was taken earlier still, so that they
    cannot be read before promotion.

    `last_included` and `first_left_out` are the commits on either side, `same_second` how many other commits share the second
    of the first one left out (None: not counted): a time would be ambiguous by so many.
    """

    gate: int
    sentence: str
    last_included: Commit | None
    first_left_out: Commit | None
    same_second: int | None = None
    is_locked: bool = False

    @property
    def asked(self) -> str:
        """The point as a recovery is asked for it: a position."""
        return format_lsn(self.gate)

    def rows(self) -> list[tuple[str, str]]:
        """For a table: what, value."""
        included, left_out = _commit_text(self.last_included), _commit_text(self.first_left_out)
        shared = "not counted" if self.same_second is None else f"{self.same_second:,} other commits"
        return [
            ("target", self.sentence),
            ("position", self.asked),
            ("last commit included", included),
            ("first commit left out", left_out),
            ("within the same second", shared),
            ("readable while paused", "not the tables it locked" if self.is_locked else "yes"),
        ]


def _commit_text(commit: Commit | None) -> str:
    if commit is None:
        return "none in the WAL that was read"
    return f"transaction {commit.xid} at {clock.stamp(commit.at)}, position {format_lsn(commit.lsn)}"


def propose_target(*suspects: Suspect) -> RecoveryTarget:
    """The point just before the commit of the suspect; of several, before the first of them.

    Raises:
        OperatorError: no suspect is given.
    """
    if not suspects:
        raise OperatorError("No suspect is chosen.", next="Choose one, or give a time or a position as recovery_point.")
    first = min(suspects, key=lambda suspect: suspect.commit.lsn)
    commit = first.commit
    sentence = f"just before the commit of transaction {commit.xid} at {clock.stamp(commit.at)}"
    gate = commit.lsn if first.before is None else first.before.lsn + 1
    is_locked = first.first_lock is not None and first.first_lock < gate
    return RecoveryTarget(gate, sentence, first.before, commit, first.same_second, is_locked)


def target_of(point: RecoveryPoint) -> RecoveryTarget:
    """A time or position that was asked for and resolved, in the same shape.

    Raises:
        OperatorError: it is the archive's end, which leaves nothing out.
    """
    if point.gate is None:
        raise OperatorError(
            f"{point.asked} is the end of the archive: no transaction lies behind it.",
            next="Choose an earlier point, or go on without counting a loss.",
        )
    return RecoveryTarget(point.gate, f"as asked for: {point.asked}", point.before, point.after)


def rank_suspects(search: WalSearch, names: NameBook, *, most: int = 10, major: int = 17) -> list[Suspect]:
    """The suspects, most suspicious first.

    Args:
        names: file changes that the search saw are followed in it too, so that a truncated or rewritten table keeps its name.
        most: how many to give.
        major: PostgreSQL's major version.
    """
    in_order = sorted(search.file_changes, key=lambda one: one.commit.lsn)
    changes = {one.xid: classify(one, names, major) for one in in_order}
    repeats = _count_repeats(changes.values(), names)
    both = {one.xid: one for one in (*search.transactions, *search.file_changes)}
    found = [_judge(one, changes.get(one.xid, FileChanges()), search, names, repeats) for one in both.values()]
    single = {one.xid: one for one in search.transactions}
    bursts = _joined([_judge_burst(burst) for burst in find_bursts(search, names, single)])
    part_of = {xid for burst in bursts for xid in burst.xids}
    alone = [one for one in found if one is not None and (one.kind != "delete" or not one.xids <= part_of)]
    counted = [one for one in (*alone, *bursts) if one.score >= LEAST_SCORE]
    ranked = heapq.nlargest(most, counted, key=lambda one: one.score)
    return [replace(one, tables=tuple(dict.fromkeys(one.tables))) for one in ranked]


def _count_repeats(changes: Iterable[FileChanges], names: NameBook) -> dict[str, int]:
    """How often each table was truncated or dropped: a staging table is truncated every night."""
    found: dict[str, int] = {}
    for changed in changes:
        for title in {names.title(file) for file in (*changed.truncated, *changed.dropped)}:
            found[title] = found.get(title, 0) + 1
    return found


@dataclass
class _Part:
    """One reason for suspicion: what was done to one table."""

    kind: str
    title: str
    rows: int | None
    score: float
    usual: int = 0
    refilled: int = 0
    columns: tuple[str, ...] = ()


def _judge(
    one: Transaction, changed: FileChanges, search: WalSearch, names: NameBook, repeats: dict[str, int]
) -> Suspect | None:
    parts = [*_row_parts(one, search, names), *_file_parts(one, changed, names, repeats)]
    if not parts:
        return None
    parts.sort(key=lambda part: -part.score)
    known = [part.rows for part in parts if part.kind == parts[0].kind]
    return Suspect(
        kind=parts[0].kind,
        score=sum(part.score for part in parts),
        sentence=_sentence(one, parts),
        commit=one.commit,
        before=one.before,
        last=one.commit,
        transactions=1,
        tables=tuple(part.title for part in parts),
        rows=None if None in known else sum(number or 0 for number in known),
        xids=frozenset({one.xid}),
        same_second=one.same_second,
        is_whole=one.is_whole,
        first_lock=one.files.first_lock if one.files else None,
        prepared=((one.xid, one.prepared_at),) if one.is_prepared else (),
    )


def _row_parts(one: Transaction, search: WalSearch, names: NameBook) -> list[_Part]:
    by_table: dict[str, Rows] = {}
    usual: dict[str, tuple[int, int]] = {}
    for file, rows in one.rows.items():
        if not names.holds_user_rows(file) or not (rows.deleted or rows.updated):
            continue
        title = names.title(file)
        by_table.setdefault(title, Rows()).add(rows)
        totals = search.relations.get(file)
        if totals is not None:
            high = totals.usual_deleted.high(rows.deleted), totals.usual_updated.high(rows.updated)
            known = usual.get(title, (0, 0))
            usual[title] = max(known[0], high[0]), max(known[1], high[1])
    parts = []
    for title, rows in by_table.items():
        deletes, updates = usual.get(title, (0, 0))
        if rows.deleted:
            score = rows.deleted * _unusualness(rows.deleted, deletes)
            parts.append(_Part("delete", title, rows.deleted, score, deletes))
        if rows.updated:
            score = _UPDATE_WEIGHT * rows.updated * _unusualness(rows.updated, updates)
            parts.append(_Part("update", title, rows.updated, score, updates))
    return parts


def _unusualness(rows: int, usual: int) -> float:
    """1 for ten times the usual number of rows or more, a tenth for the usual one.

    >>> _unusualness(8312, 2), _unusualness(50000, 50000)
    (1.0, 0.1)
    """
    return min(1.0, rows / max(1, usual) / _UNUSUAL)


def _file_parts(one: Transaction, changed: FileChanges, names: NameBook, repeats: dict[str, int]) -> list[_Part]:
    sizes: dict[tuple[str, str], list[float | None]] = {}
    refilled: dict[tuple[str, str], int] = {}
    new_of = dict(changed.replaced)
    marked: list[tuple[str, RelFile]] = [("drop", file) for file in changed.dropped]
    marked += [("truncate", file) for file in changed.truncated] + [("replace", file) for file in changed.unclear]
    for kind, file in marked:
        known = names.find(file)
        key = (kind, names.title(file))
        sizes.setdefault(key, []).append(known.estimated_rows if known else None)
        into = new_of.get(file)
        if into in one.rows:
            refilled[key] = refilled.get(key, 0) + one.rows[into].inserted
    parts = []
    for (kind, title), listed in sizes.items():
        rows = None if None in listed else int(sum(number or 0 for number in listed))
        lost = _UNKNOWN_ROWS if rows is None else max(1, rows - refilled.get((kind, title), 0))
        factor = 1 / _UNUSUAL if repeats.get(title, 0) > 2 else 1.0
        weight = _WHOLE_TABLE_WEIGHT if kind != "replace" else 1.0
        parts.append(_Part(kind, title, rows, lost * weight * factor, refilled=refilled.get((kind, title), 0)))
    parts += _column_parts(changed, names)
    for database in changed.databases:
        parts.append(_Part("drop database", names.database(database), None, _DATABASE_WEIGHT))
    return parts


def _column_parts(changed: FileChanges, names: NameBook) -> list[_Part]:
    found: dict[tuple[str, str], _Part] = {}
    for known, columns in changed.columns:
        title = names.title_of(names.find_oid(known.database, known.root_oid or known.oid) or known)
        dropped = tuple(f"number {one.number}" for one in columns if one.is_dropped)
        others = tuple(one.name for one in columns if not one.is_dropped)
        kinds = {"drop column": dropped, "alter column": others} if columns else {"alter table": ()}
        for kind, listed in kinds.items():
            if listed or not columns:
                part = found.setdefault((kind, title), _Part(kind, title, 0, 0.0, columns=listed))
                rows = known.estimated_rows
                part.rows = None if rows is None or part.rows is None else part.rows + int(rows)
                part.score += max(1.0, _UNKNOWN_ROWS if rows is None else rows) * _COLUMN_WEIGHTS[kind]
    return list(found.values())


_VERBS = {
    "delete": "deleted",
    "update": "updated",
    "truncate": "truncated",
    "drop": "dropped",
    "replace": "emptied or replaced",
    "drop database": "dropped",
    "drop column": "dropped {} of",
    "alter column": "rewrote with another definition of {}",
    "alter table": "changed columns or defaults of",
}


def _sentence(one: Transaction, parts: list[_Part]) -> str:
    """One line, the gravest first."""
    said = [_words(part, first=number == 0) for number, part in enumerate(parts[:3])]
    more = f", and {len(parts) - 3} further tables" if len(parts) > 3 else ""
    how = " in one commit" if parts[0].kind in ("delete", "update") else ""
    text = f"transaction {one.xid} {', '.join(said)}{more}{how}"
    if parts[0].kind in ("delete", "update"):
        usual = parts[0].usual
        text += f"; a usual one {parts[0].kind}s 0–{usual:,}" if usual else f"; no other one {parts[0].kind}d any"
    if one.is_prepared:
        at = format_lsn(one.prepared_at) if one.prepared_at is not None else "before the WAL that was read"
        text += f"; it was prepared first (PREPARE TRANSACTION, {at}): a point between that and its commit brings it back as a prepared one"
    if not one.is_whole:
        text += "; it may have begun before the WAL that was read, so there may be more"
    return text


def _words(part: _Part, *, first: bool) -> str:
    if part.kind in ("delete", "update"):
        return f"{_VERBS[part.kind]} {counted(part.rows or 0, part.title)}"
    if part.kind == "drop database":
        return f"{_VERBS[part.kind]} {part.title}"
    size = "size not known" if part.rows is None else f"about {part.rows:,} rows"
    if part.kind in _COLUMN_WEIGHTS:
        word = "column" if len(part.columns) == 1 else "columns"
        verb = _VERBS[part.kind].format(f"{word} {', '.join(part.columns)}")
        return f"{verb} {part.title} ({size})"
    filled = f", filled again with {part.refilled:,}" if part.refilled else ""
    return f"{_VERBS[part.kind]} {part.title} ({size}{filled})"


def _judge_burst(burst: Burst) -> Suspect:
    factor = min(1.0, burst.rows_a_minute / max(1.0, burst.usual_a_minute) / _UNUSUAL)
    usual = f"{burst.usual_a_minute:,.0f}" if burst.usual_a_minute >= 1 else "fewer than 1"
    sentence = (
        f"{burst.transactions:,} transactions deleted {burst.rows:,} rows of {burst.title} between {clock.stamp(burst.first.at)} and "
        f"{clock.stamp(burst.last.at)}; in a usual minute {usual} go"
    )
    return Suspect(
        kind="many deletes",
        score=burst.rows * factor,
        sentence=sentence,
        commit=burst.first,
        before=burst.before_first,
        last=burst.last,
        transactions=burst.transactions,
        tables=(burst.title,),
        rows=burst.rows,
        xids=frozenset(burst.xids),
        has_all_xids=burst.has_all_xids,
    )


def _joined(bursts: list[Suspect]) -> list[Suspect]:
    """Deletes from several tables by the same transactions (a cascade) are one suspect."""
    found: list[Suspect] = []
    for burst in sorted(bursts, key=lambda one: -one.score):
        for number, other in enumerate(found):
            if len(other.xids & burst.xids) * 2 > len(burst.xids):
                first = min((other, burst), key=lambda one: one.commit.lsn)
                found[number] = replace(
                    other,
                    score=other.score + burst.score,
                    sentence=f"{other.sentence}; with them {burst.rows:,} rows of {burst.tables[0]}",
                    commit=first.commit,
                    before=first.before,
                    last=max((other.last, burst.last), key=lambda commit: commit.lsn),
                    tables=(*other.tables, *burst.tables),
                    xids=other.xids | burst.xids,
                    has_all_xids=other.has_all_xids and burst.has_all_xids,
                )
                break
        else:
            found.append(burst)
    return found
