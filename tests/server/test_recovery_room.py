"""A recovery with no room for its copy: it says so before anybody approves, or moves production's files to another disk first."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from recovering import ANSWERS, Recovering, figure, kill, processes, suffer
from runbook import layout
from runbook.platforms.cluster.copying import free_bytes, tree_size
from runbook.postgres import server
from runbook.postgres.osuser import give
from runbook.sandbox.place import Sandbox, need_sandbox
from test_recovery_troubles import change_params, wait_for_step

pytestmark = [pytest.mark.server, pytest.mark.faults]

VEHICLES = "SELECT count(*) FROM public.vehicles"
STEP = "Make room for the copy"


@dataclass(frozen=True)
class Tight:
    """A sandbox whose data directory stands on a disk of its own, too small for two."""

    sandbox: Sandbox
    disk: Path
    big: Path

    @property
    def place(self) -> Path:
        return self.disk / "data"

    def moved(self, recovery: Recovering) -> Path:
        return self.big / f"data.moved-{recovery.run}"

    def aside(self, recovery: Recovering) -> Path:
        return self.disk / f"data.damaged-{recovery.run}"


@pytest.fixture
def tight(live_home: Path) -> Iterator[Tight]:
    """The sandbox's data directory is a link to a small disk; there is room for it or for a copy, not for both."""
    sandbox, recovering = need_sandbox(), Recovering()
    disk, big = live_home / "small", live_home / "big"
    for folder in (disk, big):
        folder.mkdir(mode=0o755)
    assert recovering.say("sandbox", "server", "stop").code == 0
    backup = max(path.parent for path in sandbox.backups.glob("*/backup_manifest"))
    size = tree_size(sandbox.data) + tree_size(backup) // 2
    words = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(disk)]
    subprocess.run(words, check=True)
    try:
        give(disk, sandbox.user)
        give(big, sandbox.user)
        subprocess.run(["cp", "-a", "--sparse=never", str(sandbox.data), str(disk / "data")], check=True)
        subprocess.run(["rm", "-r", str(sandbox.data)], check=True)
        sandbox.data.symlink_to(disk / "data")
        assert recovering.say("sandbox", "server", "start").code == 0
        yield Tight(sandbox, disk, big)
    finally:
        for data in [*disk.glob("data*"), *disk.glob("data.recovery-*/data"), *big.glob("data*")]:
            if (data / "PG_VERSION").exists():
                server.stop(sandbox.tools, data, user=sandbox.user, mode="immediate")
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_lack_of_room_is_told_before_anybody_approves(tight: Tight, live_home: Path) -> None:
    suffer()
    damaged = figure(tight.sandbox, VEHICLES)
    recovery = Recovering()
    said = recovery.start()
    assert said.last["verdict"] != "WAITING" and "free, and the restored copy needs" in said.last["reason"], said.stdout
    assert "recovery.move_first_to" in said.stdout + said.stderr
    assert figure(tight.sandbox, VEHICLES) == damaged and not tight.place.is_symlink()
    change_params(live_home, recovery={"move_first_to": str(tight.big)})
    refused = recovery.resume()
    assert refused.code == 2 and "--accept-change" in refused.last["next"], refused.stdout
    moving = recovery.say("resume", recovery.run, "--accept-change", "no room beside production")
    assert (moving.code, moving.last["verdict"]) == (3, "WAITING"), moving.stdout + moving.stderr
    assert tight.moved(recovery).name in "".join(recovery.say("gates", recovery.run).stdout.split())
    subprocess.run(["mount", "-o", "remount,size=4g", str(tight.disk)], check=True)
    waiting = recovery.resume()
    assert tight.moved(recovery).name not in "".join(recovery.say("gates", recovery.run).stdout.split()), (
        "with room the plan is another one, whatever params allow"
    )
    assert (waiting.code, waiting.last["verdict"]) == (3, "WAITING"), waiting.stdout + waiting.stderr
    assert "gate" in waiting.last["next"] or "approve" in waiting.last["next"]
    last = recovery.go_on(waiting)
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    assert not tight.aside(recovery).is_symlink(), "with room nothing is moved to another disk"


@pytest.mark.parametrize("victim", ["nobody", "the run"])
def test_production_moves_first_when_space_forces_it(tight: Tight, live_home: Path, victim: str) -> None:
    change_params(live_home, recovery={"move_first_to": str(tight.big)})
    _, truth = suffer()
    damaged = figure(tight.sandbox, VEHICLES)
    recovery = Recovering()
    first = recovery.start()
    assert first.code == 3, first.stdout + first.stderr
    shown = recovery.say("gates", recovery.run).stdout
    assert tight.moved(recovery).name in "".join(shown.split()), "whoever approves reads where production's files go"
    assert not tight.place.is_symlink() and figure(tight.sandbox, VEHICLES) == damaged
    assert recovery.approve("approve-the-recovery").code == 0
    if victim == "the run":
        for number, delay in enumerate((0, 0.3, 0.6, 0.9), 1):
            process = recovery.command("resume", recovery.run)
            wait_for_step(recovery, process, STEP, number)
            time.sleep(delay)
            kill([*processes(recovery.run), psutil.Process(process.pid)])
            process.communicate(timeout=60)
    paused = recovery.resume()
    assert "approve-the-way-on" in paused.last["next"], paused.stdout + paused.stderr
    assert tight.place.readlink() == tight.moved(recovery)
    assert figure(tight.sandbox, VEHICLES) == damaged, "the damaged cluster runs from there, closed"
    assert [one for one in paused.record["limitations"] if "moved to another disk" in one]
    files = {path.name for path in (layout.run(recovery.run) / "loss").iterdir()}
    assert files, "what is lost was read from the moved cluster"
    last = recovery.go_on(paused)
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    assert str(last.record["facts"]["damage"]["first_left_out"]) == truth["xid"]
    assert last.record["undos"] == {}
    assert tight.aside(recovery).readlink() == tight.moved(recovery), "the damaged cluster is kept, on the other disk"
    assert (tight.place / "PG_VERSION").exists() and not tight.place.is_symlink(), "production stands in its own place"
    assert free_bytes(tight.disk) > 0 and figure(tight.sandbox, VEHICLES) > damaged


@pytest.mark.parametrize("answers", [{"way": "back"}, {"acceptance": "back"}], ids=["before the swap", "after it"])
def test_way_back_leaves_production_on_the_other_disk_and_says_so(
    tight: Tight, live_home: Path, answers: dict[str, str]
) -> None:
    change_params(live_home, recovery={"move_first_to": str(tight.big)})
    suffer()
    damaged = figure(tight.sandbox, VEHICLES)
    recovery = Recovering({**ANSWERS, **answers})
    last = recovery.finish()
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    assert figure(tight.sandbox, VEHICLES, user="dealerscope_app") == damaged
    assert tight.place.readlink() == tight.moved(recovery)
    told = [one for one in last.record["limitations"] if "moved to another disk" in one]
    assert told and f"cp -a {tight.moved(recovery)}" in told[0], "how they come back stands at the report's top"
