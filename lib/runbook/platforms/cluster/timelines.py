"""What says which timeline is production's: the running server, a data directory, and the history files of an archive.

Only a running server out of recovery that params' connection reaches confirms a timeline, by the name of the WAL file that it writes:
pg_control lags behind a promotion by up to a checkpoint. A data directory that is down may be the old primary after a failover, and a
standby may follow either side: both are evidence. Tried on PostgreSQL 17.10.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from runbook.errors import CommandFailed, CommandTimedOut, RunbookError, StillArriving
from runbook.platforms.cluster.archivehistories import LONGEST_HISTORY, arrived_text, history_names
from runbook.platforms.cluster.walarchive import WalArchive
from runbook.postgres.connect import Connection, SqlError, one
from runbook.postgres.sqlfiles import load_sql
from runbook.postgres.tools import Tools, read_control
from runbook.postgres.wal import (
    HISTORY_NAME,
    PARTIAL_NAME,
    SEGMENT_NAME,
    Timeline,
    history_problem,
    history_reason,
    parse_history,
    read_segment_header,
    segment_start,
)

#: A timeline as an operator writes it: decimal. PostgreSQL reads 010 as octal, and file names are hexadecimal.
_NUMBER = re.compile(r"[1-9][0-9]{0,9}")


def parse_number(text: str) -> int | None:
    """Return the timeline that a text names in decimal digits; None when it names none.

    >>> parse_number("10"), parse_number("010"), parse_number("0000000A"), parse_number("²")
    (10, None, None, None)
    """
    match = _NUMBER.fullmatch(text.strip())
    return int(match[0]) if match is not None and int(match[0]) < 1 << 32 else None


# -- the server ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ServerTimeline:
    """What the server behind params' connection says. `number` is the timeline that it confirms; None: it confirms none, and
    `why` says why. `why` is a clause such as "the running server writes it"."""

    number: int | None
    why: str


def ask_server(open_: Callable[[], Connection], systems: Collection[str]) -> ServerTimeline:
    """Return the timeline that the server writes, if it is one of these systems and out of recovery.

    Args:
        open_: connects as params say.
        systems: identifiers of the system that the backups or the archive are of; empty: not known.
    """
    try:
        with open_() as connection:
            row = one(connection, load_sql("timelines/read_server").text)
    except SqlError as cause:
        return ServerTimeline(None, f"the server does not say which timeline it writes: {str(cause).strip()}")
    except RunbookError as cause:
        return ServerTimeline(None, f"no running server was reached: {cause.message}")
    system = row["system_identifier"]
    if system is None:
        return ServerTimeline(
            None,
            "the server does not let this role read its system identifier (GRANT pg_monitor), so it may be another system",
        )
    if systems and system not in systems:
        return ServerTimeline(
            None, f"the server that answers is of system {system}, and the backups are of {', '.join(sorted(systems))}"
        )
    if not systems:
        return ServerTimeline(
            None, f"nothing shows that the backups are of the system of the server that answers, {system}"
        )
    if row["in_recovery"]:
        follows = f"; it has replayed timeline {row['replayed']} to {row['lsn']}" if row["replayed"] else ""
        return ServerTimeline(None, f"the server that answers is in recovery (a standby){follows}")
    return ServerTimeline(int(row["timeline"]), f"the running server writes it, at {row['lsn']}")


#: How a file begins that only keeps a number from being taken.
_HELD = "# runbook"
#: What pg_control says of timelines.
_CONTROL = ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")


# -- a data directory ----------------------------------------------------------------------------------------


def read_directory(tools: Tools, data: Path) -> str:
    """Return what a data directory shows of its timeline, as a sentence. It confirms nothing, and is read as it lies.

    A server that was promoted and killed before its first checkpoint has the old timeline in pg_control's checkpoint: the highest
    of the checkpoint's, the minimum recovery ending location's and those of valid segments in its pg_wal counts.
    """
    try:
        control = read_control(tools, data)
    except (CommandFailed, CommandTimedOut, OSError) as cause:
        return f"The data directory {data} cannot be read ({str(cause).splitlines()[0]})."
    said = [int(value) for key in _CONTROL if (value := control.get(key, "")).isdigit()]
    said += _written_in(data / "pg_wal", control)
    state = control.get("Database cluster state", "state unknown")
    return (
        f"The data directory {data} ({state}) has reached timeline {max(said, default=0)}, its last checkpoint timeline "
        f"{control.get(_CONTROL[0], '?')}: evidence only, since it may be a former primary's."
    )


def _written_in(pg_wal: Path, control: dict[str, str]) -> list[int]:
    """Timelines of segments that hold what their names say, of this system."""
    found = set()
    try:
        for path in pg_wal.iterdir():
            if not SEGMENT_NAME.match(path.name):
                continue
            header = read_segment_header(path)
            if header is None or header.system_identifier != control.get("Database system identifier"):
                continue
            number, begin = segment_start(path.name, header.size)
            if header.begin == begin and header.timeline <= number:
                found.add(number)
    except OSError:
        return []  # its pg_wal is closed to us, or changes: pg_control has said something
    return sorted(found)


def later_than(names: Iterable[str], number: int) -> dict[int, list[str]]:
    """Return the timelines above a number that an archive has files of, with those files.

    >>> later_than(["00000002.history", "000000010000000000000003", "000000020000000000000003.partial", "notes"], 1)
    {2: ['00000002.history', '000000020000000000000003.partial']}
    """
    found: dict[int, list[str]] = {}
    for name in sorted(names):
        if any(kind.match(name) for kind in (SEGMENT_NAME, PARTIAL_NAME, HISTORY_NAME)) and int(name[:8], 16) > number:
            found.setdefault(int(name[:8], 16), []).append(name)
    return found


# -- history files -------------------------------------------------------------------------------------------


@dataclass
class Histories:
    """Timelines by number: `lineages` of those whose way is known, `problems` of those whose history is missing or damaged,
    `missing` of which of these there is no history file, `reasons` why each left the one before, `without_history` those of a backup whose history file is missing: such a backup can be
    replayed on its own timeline all the same (`recovery_target_timeline = current`)."""

    lineages: dict[int, tuple[Timeline, ...]] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    missing: set[int] = field(default_factory=set)
    without_history: set[int] = field(default_factory=set)

    def children(self, number: int) -> dict[int, int]:
        """Return the timelines that left this one, with the position where each did."""
        return {
            lineage[-1].number: lineage[-1].begin
            for lineage in self.lineages.values()
            if len(lineage) > 1 and lineage[-2].number == number
        }


def read_histories(
    archive: WalArchive, stage: Path, backups: Collection[int], server: int | None = None, asked: int | None = None
) -> Histories:
    """Return every timeline that the archive, the backups or the server know; the history files lie in the stage.

    A damaged one is taken out of the stage again: a server that reads it would write its contents on into its own history.

    Args:
        backups: the timelines of base backups: one whose history is missing can still be replayed from its backup on.
        server: the timeline that the running server writes.
        asked: one that an operator names: it is looked for, and need not be there.
    """
    used = {*backups, *([server] if server is not None else [])}
    for held in stage.glob("*.history"):
        if held.read_bytes().startswith(_HELD.encode()):
            held.unlink()  # an earlier selection's (`hold_numbers`)
    found = Histories()
    names = archive.names()
    with_wal = {int(name[:8], 16) for name in names or () if SEGMENT_NAME.match(name)}
    for number, name in history_names(archive, stage, {*used, *([asked] if asked else [])}).items():
        size = (stage / name).stat().st_size
        try:
            text = arrived_text(archive, stage / name) if size <= LONGEST_HISTORY else ""
        except StillArriving as cause:
            if number in used or number == asked:
                raise
            found.problems[number] = cause.message
            (stage / name).unlink()
            continue
        problem = history_problem(number, text) if size <= LONGEST_HISTORY else f"it has {size} bytes"
        if problem is not None and archive.directory is None:
            raise CommandFailed(
                f"What the command that fetches WAL delivered as {name} is no history of timeline {number}: {problem}.",
                next="Fetch it by hand and look at it; correct wal_archive.fetch_command in params, or restore the file from a copy.",
            )
        if problem is not None:
            found.problems[number] = f"The timeline history {name} in {archive.where()} is damaged: {problem}."
            (stage / name).unlink()
            continue
        found.lineages[number] = parse_history(number, text)
        found.reasons[number] = history_reason(text)
    if 1 in {*used, *with_wal} or not found.lineages:
        found.lineages.setdefault(1, (Timeline(1, 0, None),))
    for name in names or ():
        if (match := HISTORY_NAME.match(name)) and int(match[1], 16) not in {*found.lineages, *found.problems}:
            found.problems[int(match[1], 16)] = (
                f"The timeline history {name} is listed in {archive.where()} and is no file that can be read."
            )
    for number in sorted({*used, *with_wal} - set(found.lineages) - set(found.problems)):
        what = "a backup" if number in backups else "WAL" if number in with_wal else "a server"
        found.problems[number] = (
            f"Timeline {number} has {what}, and its history file {number:08X}.history is missing from {archive.where()}."
        )
        found.missing.add(number)
        if number in backups:
            found.lineages[number] = (Timeline(number, 0, None),)
            found.without_history.add(number)
    return found


def hold_numbers(histories: Histories, stage: Path) -> None:
    """No server that reads the stage takes a number for its own new timeline that is in use in the archive without a usable history.

    PostgreSQL takes the first number without a history file, counted up from the timeline that it follows: a file of a comment alone stands
    for each that is missing or damaged.
    """
    for number in sorted(set(histories.problems) - histories.without_history):
        file = stage / f"{number:08X}.history"
        if not file.exists():
            file.write_text(f"{_HELD}: timeline {number} is in use in the archive, without a usable history\n", "utf-8")
