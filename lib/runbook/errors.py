"""Every error this project raises on purpose, by whose fault it is.

RunbookError
├── OperatorError      the request cannot be carried out as given (exit 2 when nothing started)
│   ├── ParamsError        a params file or a notebook parameter is wrong
│   ├── NotReadable        a folder the server's user cannot enter or read
│   └── TargetLocked       another run holds the target (exit 5)
├── TargetError        the target, its backups or its WAL are at fault: a proof of damage, so FAIL
│   ├── TargetOutsideWindow
│   ├── BackupDamaged
│   ├── WalDamaged
│   ├── RecoveryRefused    restoring would reach something outside the scratch
│   └── RecoveryFailed
├── PlatformError      the surroundings failed (disk, tool, network, timeout): nothing proven, INCOMPLETE
│   ├── CommandFailed
│   ├── CommandTimedOut
│   ├── ScratchFull
│   ├── StillArriving      a WAL segment or a backup is not whole yet, and nothing proves that it will not be
│   └── NotMeasured        a value is due and cannot be had (privilege, extension, empty answer)
└── Concluded          raised by conclude() so that plain papermill exits non-zero too
    ├── RunFailed
    ├── RunIncomplete
    └── RunWaiting
"""

from __future__ import annotations


class RunbookError(Exception):
    """What happened, where, and what to do next.

    Args:
        message: what happened and where, one or two sentences.
        next: what the reader does next, a sentence or a command.
        facts: facts for machines; they are kept as given in `facts`.
    """

    def __init__(self, message: str, *, next: str | None = None, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.next = next
        self.facts = facts

    def __str__(self) -> str:
        return f"{self.message}\nNext: {self.next}" if self.next else self.message


class OperatorError(RunbookError):
    """The request cannot be carried out as given."""


class ParamsError(OperatorError):
    """A params file or a notebook parameter is wrong; the message names file, line and nearest name."""


class NotReadable(OperatorError):
    """A folder or file cannot be entered or read by the user who must."""


class TargetLocked(OperatorError):
    """Another run holds the target."""


class TargetError(RunbookError):
    """The target, its backups or its WAL are at fault."""


class TargetOutsideWindow(TargetError):
    """The recovery point lies outside what backups and WAL can reach."""


class BackupDamaged(TargetError):
    """The base backup is not what its manifest says."""


class WalDamaged(TargetError):
    """A WAL segment is missing, truncated or corrupt."""


class RecoveryRefused(TargetError):
    """Restoring would reach something outside the scratch."""


class RecoveryFailed(TargetError):
    """PostgreSQL could not recover to the point, or recovered to another one."""


class PlatformError(RunbookError):
    """The surroundings failed; nothing about the target is proven by it."""


class CommandFailed(PlatformError):
    """An outside command ended with a non-zero code."""


class CommandTimedOut(PlatformError):
    """An outside command did not end in its time."""


class ScratchFull(PlatformError):
    """The scratch location is full, read-only, or too small for what must be restored."""


class StillArriving(PlatformError):
    """A WAL segment or a base backup is not whole yet; whoever writes it has not finished, as far as anybody can tell."""


class NotMeasured(PlatformError):
    """A value is due and cannot be had; the reason says why."""


class Concluded(RunbookError):
    """A run ended with a verdict other than PASS."""


class RunFailed(Concluded):
    """Verdict FAIL."""


class RunIncomplete(Concluded):
    """Verdict INCOMPLETE."""


class RunWaiting(Concluded):
    """Verdict WAITING: a gate wants a decision."""
