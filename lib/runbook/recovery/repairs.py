"""Damage that was repaired already, and this tool's own copy-backs: marked among the suspects, so that nobody undoes them unawares.

Rows that were inserted again, and a table that was made again, are seen in WAL and in the server's catalog; that they are the same rows
nobody proves here, so the mark only keeps a suspect from being proposed. Copy-backs are known from the journals of earlier runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from runbook import clock
from runbook.errors import OperatorError
from runbook.recovery.forensics import WalSearch
from runbook.recovery.relnames import NameBook
from runbook.recovery.suspectparts import Lost
from runbook.recovery.suspects import Suspect

#: Of the rows that were taken, so many must have been inserted again, by transactions that each inserted no less than the second figure.
_MOST_OF, _A_PART = 0.9, 0.05
#: A copy-back's number is noted just before its COMMIT, by this machine's clock; the commit has the server's.
_CLOSE = timedelta(minutes=15)
_MASK = 0xFFFFFFFF


@dataclass
class EarlierCopyBack:
    """What an earlier run copied back. `xids` are its transactions with the time when each was about to be committed; `damage` those whose
    rows it brought back; `is_whole`: its own check found all of them back."""

    run: str
    system: str | None = None
    xids: dict[int, datetime] = field(default_factory=dict)
    damage: frozenset[int] = frozenset()
    is_whole: bool = False


def read_copy_backs(runs: Path, own: str) -> list[EarlierCopyBack]:
    """Return what other runs whose journals are still there have copied back.

    Args:
        own: this run, which is left out.
    """
    found = []
    for journal in sorted(runs.glob("*/journal.jsonl")):
        if journal.parent.name == own:
            continue
        try:
            if not journal.is_file():
                continue
            earlier = _read(journal)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, OperatorError):
            # Another run's journal is that run's own trouble: it can no more mark a suspect, and no recovery stops for it.
            continue
        if earlier.xids:
            found.append(earlier)
    return found


def _read(journal: Path) -> EarlierCopyBack:
    """What that run copied back; any error there is says that its journal is none of ours."""
    earlier = EarlierCopyBack(journal.parent.name)
    for name, value, at in _remembered(journal):
        if name == "recovery/copy-back transactions":
            for xid in value.values():
                earlier.xids.setdefault(int(xid) & _MASK, at)
        elif name == "recovery/seen/window":
            system = value["facts"].get("system", {}).get("system_identifier")
            earlier.system = None if system is None else str(system)
        elif name == "recovery/seen/point":
            damage = value["facts"].get("damage") or {}
            earlier.damage = frozenset(int(xid) & _MASK for xid in damage.get("xids", ()))
        elif name == "recovery/copied back":
            earlier.is_whole = all(check["status"] == "PASS" for check in value["checks"])
    return earlier


def _remembered(journal: Path) -> Iterator[tuple[str, Any, datetime]]:
    """What the run remembered of a recovery, without lines that cannot be read."""
    with journal.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if '"remembered"' not in line or '"recovery/' not in line:
                continue
            try:
                event = json.loads(line)
                remembered = str(event["name"]), event["value"], clock.parse(event["at"])
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OperatorError):
                continue
            yield remembered


def mark_repaired(
    suspects: Iterable[Suspect],
    search: WalSearch,
    names: NameBook,
    earlier: Sequence[EarlierCopyBack] = (),
    system: str | None = None,
) -> list[Suspect]:
    """Return the suspects, those marked that were repaired since or are copy-backs of ours.

    Args:
        system: the identifier of the server's system; copy-backs of another one do not count.
    """
    ours = [one for one in earlier if None in (system, one.system) or one.system == system]
    later = _Inserts(search, names)
    there = names.titles_now()
    marked = []
    for one in suspects:
        run = _own_run(one, ours)
        said = run or _copied_back(one, ours) or later.words(one) or _made_again(one, there)
        marked.append(replace(one, mark=said, is_ours=bool(run)) if said else one)
    return marked


def _own_run(one: Suspect, earlier: Sequence[EarlierCopyBack]) -> str:
    xids = {xid & _MASK for xid in one.xids}
    for run in earlier:
        if any(xid in xids and abs(one.commit.at - at) < _CLOSE for xid, at in run.xids.items()):
            return f"the copy-back of run {run.run}, no damage"
    return ""


def _copied_back(one: Suspect, earlier: Sequence[EarlierCopyBack]) -> str:
    xids = {xid & _MASK for xid in one.xids}
    for run in reversed(earlier):
        done = max(run.xids.values())
        if xids & run.damage and one.commit.at < done + _CLOSE:
            part = "" if run.is_whole else ", as far as its record says"
            return f"repaired already: run {run.run} has copied its rows back{part}"
    return ""


class _Inserts:
    """The largest inserts, by table."""

    def __init__(self, search: WalSearch, names: NameBook) -> None:
        self._by_table: dict[str, list[tuple[int, int, int]]] = {}
        for one in search.inserts:
            counts: dict[str, int] = {}
            for file, rows in one.rows.items():
                if rows.inserted > 0 and names.holds_user_rows(file):
                    title = names.table_title(file)
                    counts[title] = counts.get(title, 0) + rows.inserted
            for title, number in counts.items():
                self._by_table.setdefault(title, []).append((one.commit.lsn, one.xid, number))

    def words(self, one: Suspect) -> str:
        """Where the rows that it took were inserted again; empty unless those of every table were."""
        said = [self._of(part, one) for part in one.lost if part.rows != 0]
        return f"may be repaired already: {'; '.join(said)}" if said and all(said) else ""

    def _of(self, part: Lost, one: Suspect) -> str:
        if part.rows is None:
            return ""
        found = [
            (xid, number)
            for lsn, xid, number in sorted(self._by_table.get(part.table, ()))
            if lsn > one.last.lsn and xid not in one.xids and number >= part.rows * _A_PART
        ]
        total = sum(number for _, number in found)
        if total < part.rows * _MOST_OF:
            return ""
        by = f"transaction {found[0][0]}" if len(found) == 1 else f"{len(found)} transactions"
        return f"{by} inserted {total:,} rows into {part.table} afterwards"


def _made_again(one: Suspect, there: frozenset[str]) -> str:
    dropped = [title for part in one.lost if part.kind == "drop" for title in part.relations]
    others = [part for part in one.lost if part.kind != "drop"]
    if not dropped or others or not all(title in there for title in dropped):
        return ""
    return f"may be repaired already: {dropped[0]} is there again" + (
        f", and {len(dropped) - 1} more" if len(dropped) > 1 else ""
    )
