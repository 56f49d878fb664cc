"""One run per target at a time, across all runbooks.

A lock is a flock on `var/locks/<target>.lock`, so it ends with its holder. What the file says outlives the holder:
when a run has effects that nobody accepted or undid, the target stays locked for all others until that run is
resumed or aborted.
"""

from __future__ import annotations

import fcntl
import json
import os
from typing import Any

from runbook import clock, disk, layout
from runbook.errors import TargetLocked
from runbook.session import identity


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


def _parse(data: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(data)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _write(descriptor: int, content: dict[str, Any] | None) -> None:
    data = b"" if content is None else json.dumps(content).encode() + b"\n"
    # In place: a rename would leave the flock on a file that nobody looks at any more.
    with disk.naming(layout.locks()):
        os.pwrite(descriptor, data, 0)
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
            next=f"runbook status {run}",
            target=target,
            holder=run,
        )
    return TargetLocked(
        f"The target {target} is locked: the run {run} changed it and is not finished ({holder['effects_what']}).",
        next=f"runbook resume {run}",
        target=target,
        holder=run,
    )


class TargetLock:
    """Held from `acquire` to `release`, or to the end of this process."""

    def __init__(self, target: str, run_id: str) -> None:
        self.target = target
        self.run_id = run_id
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """This run alone works on the target.

        Raises:
            TargetLocked: another run holds it, or left effects on it.
        """
        folder = layout.locks()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.target}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _parse(os.pread(descriptor, 65536, 0))
            os.close(descriptor)
            raise _refusal(self.target, holder, held=True) from None
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


def note_effects(target: str, run_id: str, pending: bool, what: str) -> None:
    """The lock file says whether the run has effects on the target that nobody accepted or undid.

    The kernel calls this while the runner holds the flock.
    """
    path = layout.locks() / f"{target}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        content = _parse(os.pread(descriptor, 65536, 0))
        if content is None or content["run"] != run_id:
            raise TargetLocked(f"The run {run_id} does not hold the lock of {target}.", next=f"runbook status {run_id}")
        _write(descriptor, {**content, "effects": pending, "effects_what": what})
    finally:
        os.close(descriptor)


def free_effects(target: str, run_id: str) -> bool:
    """The run keeps nothing locked any more. True when it did; the run itself must be dead (abort)."""
    holder = read_holder(target)
    if holder is None or holder["run"] != run_id:
        return False
    lock = TargetLock(target, run_id)
    lock.acquire()
    note_effects(target, run_id, False, "")
    lock.release()
    return bool(holder.get("effects"))
