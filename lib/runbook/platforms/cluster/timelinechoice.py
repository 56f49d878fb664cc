"""The choice of the timeline that is followed: the one asked for, the one that the running server writes, else the newest backup's.

What else lies in the archive is reported. Where no server confirms a timeline and another one than the newest backup's holds WAL since, the
choice is a question for people, with the evidence of each. Pure; docs/decisions/0018-which-timeline.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from runbook import clock
from runbook.errors import NotMeasured, OperatorError, WalDamaged
from runbook.platforms.cluster.backups import Backup
from runbook.platforms.cluster.timelineevidence import Evidence
from runbook.platforms.cluster.timelines import Histories, ServerTimeline, parse_number
from runbook.postgres.wal import Commit, Timeline, format_lsn

_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Choice:
    """The timeline that is followed and why. `production` is the one that a running server confirms.

    `rivals`: timelines that may be production's as well, since nobody confirms one; the choice is a question then. `strays` are
    reported and not followed.
    """

    number: int
    why: str
    production: int | None
    rivals: tuple[Evidence, ...] = ()
    strays: tuple[Evidence, ...] = ()
    limitations: tuple[str, ...] = ()
    is_asked_for: bool = False

    @property
    def is_open(self) -> bool:
        """True when people must say which timeline is production's."""
        return bool(self.rivals) and not self.is_asked_for


def choose(
    asked: str,
    server: ServerTimeline,
    histories: Histories,
    backups: Sequence[Backup],
    evidence: Callable[[int, int | None], Evidence],
    first_commit: Callable[[tuple[Timeline, ...]], Commit | None],
) -> Choice:
    """Return the timeline to follow.

    Args:
        asked: 'auto', or a number in decimal.
        backups: of this system.
        evidence: of a timeline; its segments past the position given, past its fork without one.
        first_commit: of a lineage's last timeline.

    Raises:
        OperatorError: no such timeline.
        WalDamaged: the history of the timeline to follow is damaged, or missing although its WAL is there.
        NotMeasured: the running server writes a timeline of which the archive has nothing yet.
    """
    newest = max(backups, key=lambda one: (one.started_at or _LONG_AGO, one.timeline, one.start))
    is_asked_for = asked.strip() != "auto"
    production = server.number
    number = _number(asked, histories) if is_asked_for else production if production is not None else newest.timeline
    _require_history(number, histories, evidence)
    limits = _limits(number, server, histories, is_asked_for)
    if production is not None:
        # A server that was promoted took the number after the highest that it knew: what is higher than its own came later, by others.
        strays = tuple(evidence(one, None) for one in _all(histories) if one > production and one != number)
        limits += [_stray(one, f"the running server writes timeline {production}") for one in strays]
        limits += _written_by_two(production, histories, evidence, first_commit)
        why = "asked for" if is_asked_for else server.why
        return Choice(number, why, production, (), strays, tuple(limits), is_asked_for)
    others = [
        evidence(one, _left(one, newest.timeline, histories)) for one in _all(histories) if one != newest.timeline
    ]
    rivals = tuple(one for one in others if one.number != number and _may_be_production(one, newest))
    if is_asked_for and number != newest.timeline:
        rivals += (evidence(newest.timeline, _left(newest.timeline, number, histories)),)
    strays = tuple(one for one in others if one not in rivals and one.number > newest.timeline and one.number != number)
    limits += [_stray(one, f"no backup or WAL of it shows that it is production's ({server.why})") for one in strays]
    if is_asked_for:
        why = "asked for"
        limits += [
            f"Timeline {one.number} may be production's, too, and was not followed, since timeline {number} was asked for "
            f"({server.why}): {one.words()}."
            for one in rivals
        ]
    elif rivals:
        why = f"the newest backup's; not confirmed: {server.why}"
    elif len(_all(histories)) == 1:
        why = "the only one there is"
    else:
        why = "the newest backup's, and no other holds a commit since"
    return Choice(number, why, None, rivals, strays, tuple(limits), is_asked_for)


def _all(histories: Histories) -> list[int]:
    return sorted({*histories.lineages, *histories.problems})


def _number(asked: str, histories: Histories) -> int:
    number = parse_number(asked)
    if number is None or number not in {*histories.lineages, *histories.problems}:
        raise OperatorError(
            f"There is no timeline '{asked}' in the archive: a timeline is named in decimal digits without leading zeros.",
            next="Choose one of " + ", ".join(map(str, sorted(histories.lineages))) + ", or auto.",
        )
    return number


def _require_history(number: int, histories: Histories, evidence: Callable[[int, int | None], Evidence]) -> None:
    if number in histories.lineages:
        return
    problem = histories.problems.get(number)
    if problem is not None and (number not in histories.missing or evidence(number, None).segments):
        raise WalDamaged(
            problem, next="Restore the history file from pg_wal of the server or from a copy of the archive."
        )
    raise NotMeasured(
        f"The running server writes timeline {number}, and the archive holds neither its history file {number:08X}.history nor a "
        "segment of it: what was written since it was promoted cannot be restored yet.",
        next="Look at pg_stat_archiver of the server; once the history is archived, run again.",
    )


def _limits(number: int, server: ServerTimeline, histories: Histories, is_asked_for: bool) -> list[str]:
    found = []
    if number in histories.without_history:
        found.append(
            f"{histories.problems[number]} The backup is replayed on its own timeline (recovery_target_timeline = current); no earlier "
            "backup can be recovered onto it. Restore the file from pg_wal of the server or a copy of the archive."
        )
    if is_asked_for and server.number not in (None, number):
        found.append(f"Timeline {number} was asked for; the running server writes timeline {server.number}.")
    return found


def _written_by_two(
    production: int,
    histories: Histories,
    evidence: Callable[[int, int | None], Evidence],
    first_commit: Callable[[tuple[Timeline, ...]], Commit | None],
) -> list[str]:
    """Timelines that production left and that were written on after its own had begun: what a recovery has given up is older."""
    found = []
    lineage = histories.lineages.get(production, ())
    for place, (before, after) in enumerate(itertools.pairwise(lineage)):
        left = evidence(before.number, before.end)
        if left.last is None:
            continue
        try:
            first = first_commit(lineage[: place + 2])
        except WalDamaged:
            continue  # a gap where its WAL has expired: what the point needs is read, and judged, by itself
        if first is not None and left.last.at > first.at:
            found.append(
                f"Timeline {before.number} was written on after production had left it at {format_lsn(after.begin)} for timeline "
                f"{after.number}: its last commit is of {clock.stamp(left.last.at)}, the first on timeline {after.number} of "
                f"{clock.stamp(first.at)}. A former primary was not stopped: those transactions are in no backup of production."
            )
    return found


def _left(number: int, line: int, histories: Histories) -> int | None:
    """Where the lineage of a timeline left another one; None when it does not come from it."""
    return next((one.end for one in histories.lineages.get(line, ())[:-1] if one.number == number), None)


def _may_be_production(one: Evidence, newest: Backup) -> bool:
    """Whether a timeline holds WAL that is younger than the newest backup, as far as anybody knows."""
    if not one.segments or (one.last is None and not one.unread and one.number < newest.timeline):
        return False
    return one.last is None or newest.started_at is None or one.last.at >= newest.started_at


def _stray(one: Evidence, why: str) -> str:
    return (
        f"Timeline {one.number} in the archive was not followed, since {why}: {one.words()}. PostgreSQL's default "
        f"(recovery_target_timeline = latest) would follow it. Find out who archived it (a restored copy that was promoted with production's "
        "archive_command?), then move its files out of the archive."
    )


def question(choice: Choice, server: str, directory: str | None) -> str:
    """Return why nobody knows which timeline is production's, with the evidence of each that may be."""
    said = "; ".join(f"timeline {one.number}: {one.words()}" for one in choice.rivals)
    return (
        f"Which timeline is production's is not known: {server}. The newest base backup is of timeline {choice.number}; there is also "
        f"{said}." + (f" {directory}" if directory else "")
    )
