"""Production was recovered to an earlier point and goes on along timeline 2: timeline 1 holds what was given up."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path
from typing import Any

from runbook import clock
from runbook.errors import OperatorError, PlatformError
from runbook.outside import commands
from runbook.postgres import connect
from runbook.postgres.osuser import give
from runbook.sandbox import backup, cluster, traffic
from runbook.sandbox.change import read_figure
from runbook.sandbox.data import run_file
from runbook.sandbox.place import Sandbox

NAME = "second-timeline"
SUMMARY = "recover production to an earlier point, so that it goes on along a new timeline"
_PATIENCE = 120.0
_SETTINGS = ("restore_command", "recovery_target_lsn", "recovery_target_inclusive", "recovery_target_timeline")
#: A target that the backup inherited would be a second one, which PostgreSQL refuses.
_OTHERS = ("recovery_target", "recovery_target_name", "recovery_target_time", "recovery_target_xid")


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    """Dealers mark the sides: `kept` before the branch, `given up` after it on the old timeline, `new` on the new one."""
    if any((sandbox.data / "pg_tblspc").iterdir()):
        raise OperatorError(
            "The sandbox has tablespaces, which this incident would not restore.",
            next="runbook sandbox down --remove && runbook sandbox up",
        )
    old = read_figure(sandbox, "read_timeline", "timeline")
    tag = f"{rng.randrange(10**6):06d}"
    kept = _mark(sandbox, f"kept {tag}")
    branch = _position(sandbox)
    given_up = _mark(sandbox, f"given up {tag}")
    traffic.write_burst(sandbox, 20)
    given_up_position = _position(sandbox)
    backup.archive_tail(sandbox)
    sandbox = _recover(sandbox, branch["lsn"])
    new = read_figure(sandbox, "read_timeline", "timeline")
    added = _mark(sandbox, f"new {tag}")
    traffic.write_burst(sandbox, 20)
    backup.archive_tail(sandbox)
    return {
        "did": f"Recovered production to {branch['lsn']} on timeline {old}; it goes on along timeline {new}.",
        "where": str(sandbox.data),
        "old_timeline": old,
        "new_timeline": new,
        "branch_lsn": branch["lsn"],
        "branch_at": branch["at"],
        "given_up_lsn": given_up_position["lsn"],
        "given_up_at": given_up_position["at"],
        "dealers": {"kept": kept, "given_up": given_up, "new": added},
    }


def _mark(sandbox: Sandbox, name: str) -> str:
    with sandbox.connect() as connection:
        run_file(connection, "incidents/add_marker", {"name": name})
    return name


def _position(sandbox: Sandbox) -> dict[str, Any]:
    with sandbox.connect(read_only=True) as connection:
        found = run_file(connection, "incidents/read_position")[0]
    return {"lsn": found["lsn"], "at": clock.stamp(found["at"])}


def recovery_settings(archive: Path, lsn: str) -> str:
    """Lines for postgresql.auto.conf that stop before the first record at or after the LSN, and promote."""
    source = str(archive).replace("%", "%%").replace("'", "''")
    values = (f'cp "{source}/%f" "%p"', lsn, "off", "current")
    # The empty ones first: even an empty target after another one counts as a second.
    wanted = dict.fromkeys(_OTHERS, "") | dict(zip(_SETTINGS, values, strict=True))
    return "".join(f"{name} = '{value}'\n" for name, value in wanted.items()) + "recovery_target_action = 'promote'\n"


def _recover(sandbox: Sandbox, lsn: str) -> Sandbox:
    source = sandbox.newest_backup()
    sandbox = cluster.stop_server(sandbox)
    shutil.rmtree(sandbox.data)
    copy = [shutil.which("cp") or "/bin/cp", "-a", str(source), str(sandbox.data)]
    commands.run(copy, timeout=1800)
    (sandbox.data / "backup_manifest").unlink(missing_ok=True)
    with (sandbox.data / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
        file.write(recovery_settings(sandbox.archive, lsn))
    signal = sandbox.data / "recovery.signal"
    signal.touch(mode=0o600)
    give(signal, sandbox.user)
    sandbox = cluster.start_server(sandbox)
    deadline = time.monotonic() + _PATIENCE
    while read_figure(sandbox, "read_recovery", "recovering"):
        if time.monotonic() > deadline:
            raise PlatformError("The sandbox did not promote.", next=f"Read {sandbox.log}.")
        time.sleep(0.1)
    with sandbox.connect() as connection:
        for name in (*_SETTINGS, *_OTHERS, "recovery_target_action"):
            connection.execute(connect.compose("ALTER SYSTEM RESET {}").format(connect.identifier(name)))
    return sandbox
