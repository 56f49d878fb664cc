"""A copy of an own cluster restored beside it, step by step as a recovery does it; also as a process that is killed at a given moment.

`python besides.py ACT RUN POINT MOMENT` does one act in RUNBOOK_HOME and kills itself (SIGKILL) when it comes to the moment.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook import layout
from runbook.outside.commands import OsUser
from runbook.params import load_params
from runbook.params.schema import Cluster, Params
from runbook.platforms.cluster.beside import Beside, folder_beside
from runbook.platforms.cluster.handover import Handover
from runbook.platforms.cluster.replay import Replay
from runbook.platforms.cluster.restore import Restore
from runbook.platforms.cluster.restoring import refuse_new_tablespaces
from runbook.platforms.cluster.selection import Selection
from runbook.platforms.cluster.swap import Swap
from runbook.platforms.cluster.window import Resolved
from runbook.postgres.osuser import service_user

Progress = Callable[..., None]


def nothing(*seen: Any) -> None:
    """Progress that nobody looks at."""


@dataclass
class Besides:
    """One recovery of the cluster that params describe, by its parts alone. Each object is an attempt of its own."""

    params: Params
    run_id: str
    on_copy: Progress = nothing

    @property
    def cluster(self) -> Cluster:
        assert self.params.cluster is not None
        return self.params.cluster

    @property
    def user(self) -> OsUser | None:
        return service_user(self.cluster.os_user, layout.resolve(self.cluster.backup_folder))

    @property
    def folder(self) -> Path:
        assert self.cluster.data_directory is not None
        location = self.params.recovery.location
        return folder_beside(layout.resolve(self.cluster.data_directory), location, self.run_id)

    def select(self, point: str) -> Selection:
        selection = Selection(self.cluster, self.user, point, "auto", 60)
        selection.describe()
        return selection

    def open(self) -> Beside:
        return Beside.open_or_create(
            self.cluster, self.folder, run_id=self.run_id, tools=self.select("latest").tools, user=self.user
        )

    def restore(self, point: str) -> tuple[Beside, Resolved, bool]:
        """The copy, its point, and whether it was copied anew."""
        selection = self.select(point)
        beside = Beside.open_or_create(
            self.cluster, self.folder, run_id=self.run_id, tools=selection.tools, user=self.user
        )
        selection.choose(beside.wal)
        resolved = selection.resolve(nothing)
        refuse_new_tablespaces(resolved.scan.tablespaces, resolved.backup.label, "another point")
        is_new = not beside.is_copied
        if is_new:
            beside.begin_anew(resolved.backup)
            copy = Restore(beside, selection.live_folders(), self.on_copy, 60)
            copy.begin(resolved.backup)
            try:
                copy.finish(resolved.backup)
            finally:
                copy.end()
            beside.note(copied=True)
        return beside, resolved, is_new

    def stand_at(self, point: str) -> tuple[Beside, Replay, Resolved]:
        """The copy paused at the point, or promoted there by an attempt before."""
        beside, resolved, _ = self.restore(point)
        beside.configure(resolved.point.timeline, resolved.scan.raised)
        replay = Replay(beside, resolved.stage, 20, nothing)
        if not beside.promoted:
            replay.go_to(resolved.point.gate, resolved.point.reached)
        return beside, replay, resolved

    def promote(self, point: str) -> tuple[Beside, int]:
        """The copy promoted at the point and stopped; its timeline."""
        beside, replay, resolved = self.stand_at(point)
        timeline = beside.promote(replay, resolved.point.reached)
        beside.stop()
        beside.free_of_archive()
        return beside, timeline

    def run_promoted(self, point: str) -> Beside:
        """The promoted copy, running alone."""
        beside, _, _ = self.stand_at(point)
        assert beside.promoted
        beside.run_server(wait=True)
        return beside

    def swap(self) -> Swap:
        return Swap(self.cluster, self.open(), self.run_id, self.user)

    def handover(self) -> Handover:
        swap = self.swap()
        return Handover(self.cluster, swap.beside, swap.data, swap.aside, self.user)


def values(beside: Beside, query: str, database: str = "shop") -> list[Any]:
    """The first column of a query to the copy."""
    with beside.connect(database) as connection:
        connection.execute("SET search_path = public, pg_catalog")
        return [next(iter(row.values())) for row in connection.execute(query).fetchall()]  # type: ignore[call-overload]


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(home: Path, act: str, run_id: str, point: str = "", moment: str = "") -> subprocess.CompletedProcess[str]:
    """The act in a process of its own, which has died at its moment."""
    env = {**os.environ, "RUNBOOK_HOME": str(home), "PYTHONPATH": str(layout.CHECKOUT / "lib")}
    argv = [sys.executable, __file__, act, run_id, point, moment]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL, (done.returncode, done.stdout, done.stderr)
    return done


def die_at_rename(number: int) -> None:
    """The process ends instead of its n-th rename of a folder (the first is 0)."""
    plain, seen = Path.rename, [0]

    def rename(self: Path, target: Path) -> Path:
        if self.is_dir():
            if seen[0] == number:
                die()
            seen[0] += 1
        return plain(self, target)

    Path.rename = rename  # type: ignore[method-assign,assignment]


def main(act: str, run_id: str, point: str, moment: str) -> None:
    one = Besides(load_params("own"), run_id)
    if act == "copy":
        one.on_copy = lambda done, total: die() if done > total * float(moment) else None
        one.restore(point)
    elif act == "replay":
        Replay._wait_for = _die_beside_a_server  # type: ignore[method-assign,assignment]
        one.stand_at(point)
    elif act == "configure":
        Beside.note = _note_and_die(moment)  # type: ignore[method-assign]
        one.stand_at(point)
    elif act == "promoted":
        _, replay, resolved = one.stand_at(point)
        replay.promote(resolved.point.reached)
        die()
    elif act in ("forward", "back"):
        die_at_rename(int(moment))
        getattr(one.swap(), act)()
    elif act == "half":  # forward dies after its renames, before the links
        Swap._link_tablespaces = lambda *given: die()  # type: ignore[method-assign,assignment]
        getattr(one.swap(), moment)()


def _die_beside_a_server(replay: Replay, expected: int) -> None:
    """As soon as the server is there: this little WAL may be replayed before anybody is told of progress."""
    while not (replay.scratch.data / "postmaster.pid").exists():
        time.sleep(0.001)
    die()


def _note_and_die(name: str) -> Callable[..., None]:
    plain = Beside.note

    def note(self: Beside, **facts: Any) -> None:
        if name in facts and facts[name] is True:
            die()
        plain(self, **facts)

    return note


if __name__ == "__main__":
    main(*sys.argv[1:])
