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
from runbook.recovery.relnames import NOT_KNOWN, NameBook, counted
from runbook.recovery.suspectparts import COLUMN_WEIGHTS, UNUSUAL, Lost, Part, file_parts, row_parts
from runbook.recovery.transactions import Transaction

#: Below it nobody is suspected: a single row deleted, as thousands are.
LEAST_SCORE = 1.0
#: Kinds that take rows away, which may be inserted again.
TAKING = ("delete", "truncate", "drop", "replace")


@dataclass(frozen=True)
class Suspect:
    """What may be the damage. `commit` is its (first) commit, `before` the commit ahead of it, `last` its last one.

    `kind` is delete, update, truncate, drop, drop database or many deletes. `rows` is None where nobody counted. `xids` are
    its transactions (`has_all_xids` False: more of them than were kept). `prepared` are those of them that were prepared first, with the
    position of their PREPARE TRANSACTION (None: before the WAL that was read). `lost` are rows taken, by table.
    `mark` says why it may be none, or none any more: it was repaired since, or is a copy-back of ours (`is_ours`).
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
    lost: tuple[Lost, ...] = ()
    mark: str = ""
    is_ours: bool = False

    @property
    def number(self) -> int:
        """The transaction by which it is chosen: its first."""
        return self.commit.xid

    @property
    def words(self) -> str:
        """Which transaction it is and what it touched, for a plan: the same whenever it is found."""
        more = f" and {len(self.tables) - 5} more" if len(self.tables) > 5 else ""
        how = self.kind if self.transactions == 1 else f"{self.kind}, {self.transactions:,} transactions"
        return f"transaction {self.number}, committed {clock.stamp(self.commit.at)} ({how}): {', '.join(self.tables[:5])}{more}"

    @property
    def is_proposed(self) -> bool:
        """True when it may be what a recovery undoes unless a person says otherwise."""
        return not self.mark and not self.unnamed

    @property
    def unnamed(self) -> list[str]:
        """Its relations whose names nobody knows."""
        return [title for title in self.tables if title.endswith(f"({NOT_KNOWN})")]

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


def rank_suspects(search: WalSearch, names: NameBook, *, most: int = 10) -> list[Suspect]:
    """The suspects, most suspicious first.

    Args:
        names: those that the search's WAL tells are added to it.
        most: how many to give.
    """
    names.add_wal(search.names)
    changes = {one.xid: classify(one, names) for one in search.file_changes}
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
        for title in {names.table_title(file) for file in (*changed.truncated, *changed.dropped)}:
            found[title] = found.get(title, 0) + 1
    return found


def _judge(
    one: Transaction, changed: FileChanges, search: WalSearch, names: NameBook, repeats: dict[str, int]
) -> Suspect | None:
    parts = [*row_parts(one, search, names), *file_parts(one, changed, search, names, repeats)]
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
        lost=tuple(Lost(part.kind, part.table, part.rows, part.relations) for part in parts if part.kind in TAKING),
    )


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


def _sentence(one: Transaction, parts: list[Part]) -> str:
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


def _words(part: Part, *, first: bool) -> str:
    if part.kind in ("delete", "update"):
        return f"{_VERBS[part.kind]} {counted(part.rows or 0, part.title)}{part.within}"
    if part.kind == "drop database":
        return f"{_VERBS[part.kind]} {part.title}"
    about = "" if part.is_exact else "about "
    size = "size not known" if part.rows is None else f"{about}{part.rows:,} row{'' if part.rows == 1 else 's'}"
    if part.kind in COLUMN_WEIGHTS:
        word = "column" if len(part.columns) == 1 else "columns"
        verb = _VERBS[part.kind].format(f"{word} {', '.join(part.columns)}")
        return f"{verb} {part.title} ({size})"
    filled = f", filled again with {part.refilled:,}" if part.refilled else ""
    return f"{_VERBS[part.kind]} {part.title}{part.within} ({size}{filled})"


def _judge_burst(burst: Burst) -> Suspect:
    factor = min(1.0, burst.rows_a_minute / max(1.0, burst.usual_a_minute) / UNUSUAL)
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
        lost=(Lost("delete", burst.table, burst.rows),),
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
                    lost=(*other.lost, *burst.lost),
                    xids=other.xids | burst.xids,
                    has_all_xids=other.has_all_xids and burst.has_all_xids,
                )
                break
        else:
            found.append(burst)
    return found
