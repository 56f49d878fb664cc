"""A recovery that is called off: what its lock-down has done is taken back, and it is tried whether the application gets in again.

Only what leaves production's files where they are is taken back here. A restored copy that stands in production's place is a decision
of its own, which the run asks for ('accept' or 'back'); what is left is said, with the command that goes on.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from typing import Any

from runbook.errors import RunbookError
from runbook.model import Check
from runbook.params.schema import Params
from runbook.platforms.cluster import service
from runbook.platforms.cluster.beside import Beside, folder_beside, is_swapped_in
from runbook.postgres.osuser import service_user
from runbook.postgres.tools import find_tools
from runbook.recovery.account import needs_answer
from runbook.recovery.closing import Recall
from runbook.recovery.course import Course
from runbook.recovery.done import Done, judge
from runbook.recovery.lockdown import LIFTED, LockDown
from runbook.recovery.room import MOVED_FIRST, Room
from runbook.recovery.wayon import STOPPED

_REACHED = "reaches the password (a wrong one was tried, from this host)"
_ENTERED = "is let in without a password, from this host"


def call_off(
    params: Params,
    run_id: str,
    undos: Collection[str],
    *,
    remember: Callable[[str, object], object],
    recall: Recall,
    undo_first: Callable[[str, str], object],
    undone: Callable[[str], object],
) -> Done:
    """Service is restored as far as the run's undos tell; an act that could not be taken back keeps its undo.

    Args:
        undos: the acts that were not taken back, as the run's journal names them.
        remember, recall, undo_first, undone: the run's.
    """
    lockdown = LockDown(params, run_id, remember=remember, recall=recall, undo_first=undo_first, undone=undone)
    done = Done()
    if MOVED_FIRST in undos:
        try:
            done.limits += _room_of(lockdown, _Memory(remember, recall), undo_first).call_off()
            undone(MOVED_FIRST)
        except (RunbookError, OSError) as cause:
            next_ = cause.next if isinstance(cause, RunbookError) else None
            done.checks.append(
                _stays(
                    "called-off-room",
                    MOVED_FIRST,
                    _words(cause),
                    next_ or f"Fix the reason given, then: runbook abort {run_id}",
                )
            )
            return done
    if STOPPED in undos:
        try:
            service.start(lockdown.cluster)
            undone(STOPPED)
            done.say(STOPPED, "taken back", "it runs again")
        except RunbookError as cause:
            done.checks.append(
                _stays("called-off-server", STOPPED, cause.message, cause.next or "Start it with its service manager.")
            )
            return done
    lifted = lockdown.lift()
    done.checks += lifted.checks
    done.rows += lifted.rows
    if any(act in undos for act in LIFTED):
        done.checks += [_answers(lockdown), entry(lockdown)]
    kept = _why_kept(recall)
    if kept is not None:
        folder = folder_beside(lockdown.server.need_data(), params.recovery.location, run_id)
        if folder.exists() and not is_swapped_in(folder):
            done.limits.append(
                f"{kept} The restored copy is kept in {folder}: remove it when the rows were taken from it."
            )
            return done
    try:
        _remove_copy(lockdown)
    except (RunbookError, OSError, ValueError) as cause:
        next_ = cause.next if isinstance(cause, RunbookError) else None
        done.checks.append(
            _stays("called-off-copy", "the restored copy", _words(cause), next_ or "See what uses the folder.")
        )
    return done


def _why_kept(recall: Recall) -> str | None:
    """Why the copy may be the one place that has rows which the damage took; None: it is not."""
    result = recall("recovery/copied back")
    if result is not None:
        left = needs_answer(result["facts"].get("account"))
        return f"Not all that the damage took is back as it was: {'; '.join(left)}." if left else None
    xids = recall("recovery/copy-back transactions")
    if not xids:
        return None
    asked = ", ".join(f"{name}: SELECT pg_xact_status('{xid}')" for name, xid in xids.items())
    return f"The copy-back was called off midway: rows are back where a transaction was committed, and nowhere else ({asked})."


class _Memory:
    """A run's memory, by its two functions."""

    def __init__(self, remember: Callable[[str, Any], object], recall: Recall) -> None:
        self._remember, self._recall = remember, recall

    def remember(self, name: str, value: Any) -> None:
        self._remember(name, value)

    def recall(self, name: str, default: Any = None) -> Any:
        return self._recall(name, default)


def _room_of(lockdown: LockDown, memory: _Memory, undo_first: Callable[[str, str], object]) -> Room:
    elsewhere = lockdown.params.recovery.move_first_to
    data = lockdown.server.need_data()
    folder = folder_beside(data, lockdown.params.recovery.location, lockdown.run_id)
    return Room(lockdown.cluster, Course(memory), folder, elsewhere, lockdown.run_id, undo_first)


def _words(cause: Exception) -> str:
    return cause.message if isinstance(cause, RunbookError) else str(cause)


def _remove_copy(lockdown: LockDown) -> None:
    """The copy beside production takes no room any more; the folder of one that was swapped in may hold production's tablespaces."""
    data = lockdown.server.need_data()
    folder = folder_beside(data, lockdown.params.recovery.location, lockdown.run_id)
    if not folder.exists() or is_swapped_in(folder):
        return
    user = service_user(lockdown.cluster.os_user, data)
    major = int((data / "PG_VERSION").read_text("utf-8").strip())
    tools = find_tools(major, lockdown.cluster.bin_directory, user)
    Beside.open_or_create(lockdown.cluster, folder, run_id=lockdown.run_id, tools=tools, user=user).remove()


def _stays(name: str, what: str, observed: str, next: str) -> Check:
    return judge(name, f"Taken back: {what}", "as it was before", observed, reason=observed, next=next)


def _answers(lockdown: LockDown) -> Check:
    is_up = _is_up(lockdown)
    return judge(
        "called-off-answers",
        "Production answers",
        "accepts connections",
        "accepts them" if is_up else "does not answer",
        reason=None if is_up else "Production does not answer: what was taken back holds from its next start on.",
        next=None if is_up else "Start it with its service manager.",
    )


def _is_up(lockdown: LockDown) -> bool:
    try:
        return lockdown.server.is_up()
    except RunbookError:
        return False


def entry(lockdown: LockDown) -> Check:
    """Whether the application's role gets as far as its password, from this host; its password is not known here."""
    role = lockdown.params.recovery.application_role
    reason = next_ = None
    if role is None:
        observed = "not tried"
        reason = "Params name no recovery.application_role, so nobody was tried."
        next_ = "Let the application connect, and see."
    else:
        observed = _try_entry(lockdown, role)
        if observed not in (_REACHED, _ENTERED):
            reason = f"{role} from this host: {observed}."
            next_ = "Let the application connect from its own host: there another line of pg_hba.conf may hold."
    return judge(
        "called-off-entry",
        "The application gets in again",
        "its role reaches the password, or is let in",
        f"{role}: {observed}" if role else observed,
        reason=reason,
        next=next_,
    )


def _try_entry(lockdown: LockDown, role: str) -> str:
    database = next(iter(lockdown.cluster.databases or ()), "postgres")
    try:
        lockdown.server.connect_as(database, role, secrets.token_urlsafe(24), {}).close()
    except RunbookError as cause:
        if cause.facts.get("asked_password"):
            return _REACHED
        return cause.message.strip().splitlines()[-1]
    return _ENTERED
