"""An archive of twenty signed records to tamper with, and the two ways to look at it: ours, and stock tools alone."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from homes import at_home
from runbook import clock
from runbook.archive.records import commit_record
from runbook.archive.verify import Verified, verify_archive
from runbook.model import FileFacts, RunRecord, TargetFacts, Verdict

FILES = {"report.html": b"<!doctype html>", "executed.ipynb": b"{}", "source.ipynb": b"{}"}
START = datetime(2026, 1, 5, 2, 0, 0, tzinfo=UTC)
COUNT = 20


def run_id(number: int) -> str:
    return f"20260105T{number:06d}Z-backup-verification-3f9a"


def a_record(number: int, **changes: object) -> RunRecord:
    """The record of run number so and so; runs are a month apart."""
    started = START + timedelta(days=30 * number)
    fields: dict[str, object] = {
        "run": run_id(number),
        "attempt": 1,
        "runbook": "backup-verification",
        "title": "04 · Can the backup be restored?",
        "verdict": Verdict.PASS,
        "reason": "All checks passed.",
        "exit_code": 0,
        "target": TargetFacts(name="billing", environment="production", platform="cluster"),
        "started_at": started,
        "ended_at": started + timedelta(seconds=30),
        "seconds": 30.0,
        "operator": "dba",
        "host": "h1",
        "started_by": "runbook run",
        "controls": ("backup-verification",),
        "satisfies_controls": True,
        "ledger_line": number,
        "notebook": FileFacts(path="notebooks/04_backup_verification.ipynb", sha256="a" * 64),
        "library_sha256": "b" * 64,
    }
    return RunRecord.model_validate({**fields, **changes})


def open_run(home: Path, number: int, when: datetime | None = None) -> None:
    """The run has its line in RUNS."""
    line = f"{number:06d} {clock.stamp(when or clock.now())} {run_id(number)} backup-verification billing dba\n"
    path = home / "reports" / "RUNS"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as ledger:
        ledger.write(line)


def fill(home: Path, first: int = 1, last: int = COUNT) -> None:
    """Runs were opened and archived, one after the other."""
    with at_home(home):
        for number in range(first, last + 1):
            open_run(home, number)
            commit_record(FILES, a_record(number))


def copy_home(home: Path, to: Path) -> Path:
    shutil.copytree(home, to, symlinks=True)
    return to


class House:
    """A home with an archive."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.reports = home / "reports"

    @property
    def folders(self) -> list[Path]:
        return sorted((self.reports / "records").iterdir())

    def record(self, number: int) -> Path:
        (found,) = (self.reports / "records").glob(f"{number:06d}-*")
        return found

    @property
    def key(self) -> Path:
        """The runner's private key."""
        (found,) = [path for path in (self.home / "var" / "keys").glob("runner-*") if path.suffix != ".pub"]
        return found

    def verify(self, **how: object) -> Verified:
        return verify_archive(self.reports, **how)  # type: ignore[arg-type]

    def kinds(self, **how: object) -> set[str]:
        return {problem.kind for problem in self.verify(**how).problems}

    def stock(
        self, *args: str, shell: str = "sh", seconds: float = 300, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """`verify.sh` where only a shell, sha256sum and ssh-keygen are: no Python, none of this project."""
        tools = self.home / "tools"
        if not tools.is_dir():
            tools.mkdir()
            for name in ("sha256sum", "ssh-keygen", "sh", "bash"):
                found = shutil.which(name)
                assert found is not None, f"{name} is not installed"
                (tools / name).symlink_to(found)
        return subprocess.run(
            [str(tools / shell), str(self.reports / "verify.sh"), *args],
            env={"PATH": str(tools), "HOME": "/nonexistent", **environment},
            cwd="/",
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=seconds,
        )


#: What touches the disk, by name in `os`.
TOUCHES = ("open", "fsync", "fchmod", "mkdir", "rename", "replace", "unlink", "close")


def survives(call: int, act: Callable[[], object], touches: Sequence[str] = TOUCHES) -> bool:
    """The act in a child that dies without a word before its n-th touch of the disk; True when it got through."""
    child = os.fork()
    if child == 0:
        touched = 0

        def dying(original: Callable[..., object]) -> Callable[..., object]:
            def wrapped(*args: object, **kwargs: object) -> object:
                nonlocal touched
                touched += 1
                if touched == call:
                    os._exit(9)
                return original(*args, **kwargs)

            return wrapped

        for name in touches:
            setattr(os, name, dying(getattr(os, name)))
        act()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def overwrite(path: Path, content: bytes | str) -> None:
    """The file has other content; its permissions are as before."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)


def edit(path: Path, change: Callable[[str], str]) -> None:
    overwrite(path, change(path.read_text()))


def resum(folder: Path) -> None:
    """The record's SHA256SUMS is right again, as somebody without the key would make it."""
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    link = [line for line in lines if "../" in line]
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith(("SHA256SUMS", "TOMBSTONE")))
    done = subprocess.run(["sha256sum", *names], cwd=folder, capture_output=True, text=True, check=True).stdout
    overwrite(folder / "SHA256SUMS", done + "".join(f"{line}\n" for line in link))


def relink(folder: Path, before: Path) -> None:
    """The record's SHA256SUMS follows another one."""
    digest = subprocess.run(["sha256sum", before / "SHA256SUMS"], capture_output=True, text=True, check=True).stdout[
        :64
    ]
    lines = [line for line in (folder / "SHA256SUMS").read_text().splitlines() if "../" not in line]
    overwrite(folder / "SHA256SUMS", "\n".join([*lines, f"{digest}  ../{before.name}/SHA256SUMS", ""]))


def resign(folder: Path, key: Path, namespace: str = "runbook-evidence") -> None:
    """Somebody with that key has signed the record."""
    (folder / "SHA256SUMS.sig").unlink(missing_ok=True)
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(key), str(folder / "SHA256SUMS")]
    subprocess.run(argv, check=True, capture_output=True)


def make_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "x", "-f", str(path)], check=True)
    return path


def other_home(parent: Path, name: str = "other") -> Path:
    """Another home, with nothing in it."""
    home = parent / name
    home.mkdir()
    return home


def without_home() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "RUNBOOK_HOME"}
