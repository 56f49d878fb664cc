"""One run that may change a target at a time, across all runbooks; what only reads runs beside it and says so.

A lock is a flock on `var/locks/<target>.lock`, so it ends with its holder. What the file says outlives the holder:
when a run has effects that nobody accepted or undid, the target stays locked for all others until that run is
resumed or aborted.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from typing import Any, Protocol

from runbook import clock, disk, layout
from runbook.errors import TargetLocked
from runbook.session import identity
from runbook.session.changes import note_changed


def read_holder(target: str) -> dict[str, Any] | None:
    """What the lock file says; None when it says nothing."""
    path = layout.locks() / f"{target}.lock"
    if not path.is_file():
        return None
    return _parse(path.read_bytes())


def read_holders() -> list[dict[str, Any]]:
    """What all lock files say."""
    folder = layout.locks()
    found = [read_holder(path.stem) for path in sorted(folder.glob("*.lock"))] if folder.is_dir() else []
    return [one for one in found if one is not None]


#: The run of a holder that cannot be read; it is nobody's, and keeps the target until somebody has looked.
UNREADABLE = "that is not known"


def _parse(data: bytes) -> dict[str, Any] | None:
    """What a lock file says: nothing when it is empty; what cannot be read is taken for effects of a run that is not known."""
    if not data.strip():
        return None
    known: dict[str, Any] = {"pid": 0, "started": None, "boot": "", "host": identity.host(), "since": "not known"}
    known |= {"effects": False, "effects_what": "it does not say what"}
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict) and isinstance(content.get("run"), str):
        return {**known, **content}
    what = "its lock file cannot be read, so what a run has left there is not known"
    return {**known, "run": UNREADABLE, "effects": True, "effects_what": what, "next": "runbook doctor"}


def _write(descriptor: int, content: dict[str, Any] | None) -> None:
    data = b"" if content is None else json.dumps(content).encode() + b"\n"
    # In place: a rename would leave the flock on a file that nobody looks at any more. In one write, over all that was there: whoever is
    # killed before the file is cut leaves the new text, and blanks.
    with disk.naming(layout.locks()):
        os.pwrite(descriptor, data.ljust(os.fstat(descriptor).st_size), 0)
        os.ftruncate(descriptor, len(data))
        os.fsync(descriptor)


def _refusal(target: str, holder: dict[str, Any] | None, *, held: bool) -> TargetLocked:
    if holder is None:
        return TargetLocked(
            f"The target {target} is locked by a run that is just starting.", next="runbook runs", target=target
        )
    run = holder["run"]
    if held:
        return TargetLocked(
            f"The target {target} is locked by the run {run} (pid {holder['pid']} on {holder['host']}, since "
            f"{holder['since']}).",
            next=look_at(holder),
            target=target,
            holder=run,
        )
    if run == UNREADABLE:
        return TargetLocked(
            f"The target {target} is locked: {holder['effects_what']}.", next=way_on(holder), target=target, holder=run
        )
    return TargetLocked(
        f"The target {target} is locked: the run {run} changed it and is not finished ({holder['effects_what']}).",
        next=way_on(holder),
        target=target,
        holder=run,
    )


def way_on(holder: dict[str, Any]) -> str:
    """The command that goes on with what a run has left on its target."""
    return str(holder.get("next") or f"runbook resume {holder['run']}")


def _flocked(descriptor: int, wait_seconds: float) -> bool:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)


def look_at(holder: dict[str, Any]) -> str:
    """The command that shows the run which holds a target."""
    return "runbook doctor" if holder["run"] == UNREADABLE else f"runbook status {holder['run']}"


class TargetLock:
    """Held from `acquire` to `release`, or to the end of this process."""

    def __init__(self, target: str, run_id: str) -> None:
        self.target = target
        self.run_id = run_id
        self._descriptor: int | None = None

    def acquire(self, wait_seconds: float = 0.0) -> None:
        """This run alone works on the target.

        Args:
            wait_seconds: for somebody who only looks whether it is free.

        Raises:
            TargetLocked: another run holds it, or left effects on it.
        """
        folder = layout.locks()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.target}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not _flocked(descriptor, wait_seconds):
            holder = _parse(os.pread(descriptor, 65536, 0))
            os.close(descriptor)
            raise _refusal(self.target, holder, held=True)
        before = _parse(os.pread(descriptor, 65536, 0)) or {}
        if before.get("effects") and before["run"] != self.run_id:
            os.close(descriptor)
            raise _refusal(self.target, before, held=False)
        me = identity.this_process()
        keep = before if before.get("run") == self.run_id else {}
        content = {
            "run": self.run_id,
            **me,
            "since": clock.stamp(clock.now()),
            "effects": keep.get("effects", False),
            "effects_what": keep.get("effects_what", ""),
            **({"next": keep["next"]} if "next" in keep else {}),
        }
        _write(descriptor, content)
        self._descriptor = descriptor

    def release(self) -> None:
        """Others may work on the target, unless this run has effects on it. Safe twice."""
        if self._descriptor is None:
            return
        content = _parse(os.pread(self._descriptor, 65536, 0)) or {}
        if not content.get("effects"):
            _write(self._descriptor, None)
        os.close(self._descriptor)
        self._descriptor = None

    @property
    def held(self) -> bool:
        return self._descriptor is not None


class RunLock(Protocol):
    """What a run holds while somebody works on it."""

    target: str
    run_id: str

    @property
    def held(self) -> bool: ...

    def acquire(self) -> None: ...

    def release(self) -> None: ...


class Reading:
    """The lock of a run that only reads: it keeps nobody out, in an incident least of all, but a second process from the same run."""

    def __init__(self, target: str, run_id: str) -> None:
        self.target = target
        self.run_id = run_id
        self._descriptor: int | None = None
        self._held = False

    def acquire(self) -> None:
        """This process alone goes on with the run; one that is not made yet is nobody else's.

        Raises:
            TargetLocked: another process goes on with it.
        """
        folder = layout.run(self.run_id)
        if folder.is_dir():
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise TargetLocked(
                    f"Another process goes on with the run {self.run_id} just now.",
                    next=f"runbook status {self.run_id}",
                    target=self.target,
                    holder=self.run_id,
                ) from None
            self._descriptor = descriptor
        self._held = True

    def release(self) -> None:
        """Safe twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._held = None, False

    @property
    def held(self) -> bool:
        return self._held


def lock_of(target: str, run_id: str, *, only_reads: bool) -> RunLock:
    """Return the lock that such a run takes."""
    return Reading(target, run_id) if only_reads else TargetLock(target, run_id)


def changing(target: str) -> dict[str, Any] | None:
    """What the lock file says of a run that has changed this target and neither finished nor undid it; None: there is none."""
    holder = read_holder(target)
    return holder if holder is not None and holder.get("effects") else None


def changing_words(target: str, run_id: str) -> str | None:
    """What the record of that run says when another one is changing the target meanwhile."""
    other = changing(target)
    if other is None or other["run"] == run_id:
        return None
    if other["run"] == UNREADABLE:
        return f"Whether another run is changing this target is not known: {other['effects_what']}."
    return f"The run {other['run']} is changing this target ({other['effects_what']}): what stands here was read meanwhile."


def refuse_held(target: str) -> None:
    """Nobody works on the target or has left effects on it.

    Raises:
        TargetLocked: somebody does or has.
    """
    probe = TargetLock(target, "none")
    probe.acquire()
    probe.release()


def note_effects(target: str, run_id: str, pending: bool, what: str, *, next: str | None = None) -> None:
    """The lock file says whether the run has effects on the target that nobody accepted or undid.

    The kernel calls this while the runner holds the flock.
    """
    path = layout.locks() / f"{target}.lock"
    refusal = TargetLocked(f"The run {run_id} does not hold the lock of {target}.", next=f"runbook status {run_id}")
    if not path.is_file():
        raise refusal
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        content = _parse(os.pread(descriptor, 65536, 0))
        if content is None or content["run"] != run_id:
            raise refusal
        if content.get("effects") and not pending:
            note_changed(target, run_id, str(content.get("effects_what", "")))
        _write(descriptor, {**content, "effects": pending, "effects_what": what, **({"next": next} if next else {})})
    finally:
        os.close(descriptor)


def keep_effects(target: str, run_id: str, what: str, *, next: str) -> None:
    """The dead run still keeps the target locked, for `what`; a refusal gives `next` as the next command."""
    lock = TargetLock(target, run_id)
    lock.acquire(wait_seconds=1.0)
    note_effects(target, run_id, True, what, next=next)
    lock.release()


def free_effects(target: str, run_id: str) -> bool:
    """The run keeps nothing locked any more. True when it did; the run itself must be dead (abort)."""
    holder = read_holder(target)
    if holder is None or holder["run"] != run_id:
        return False
    lock = TargetLock(target, run_id)
    lock.acquire(wait_seconds=1.0)
    note_effects(target, run_id, False, "")
    lock.release()
    return bool(holder.get("effects"))
