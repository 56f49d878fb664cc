"""What a person looks at: the point, the isolation, and the arguments of two plots."""

from __future__ import annotations

import shlex
from typing import Any

from runbook.clock import human_bytes
from runbook.errors import PlatformError
from runbook.platforms.cluster.scratch import Scratch
from runbook.postgres.checksession import Way
from runbook.postgres.connect import SqlError, rows
from runbook.postgres.sqlfiles import load_sql
from runbook.verification.sqlchecks import CheckFile, ask_check

_MOST_TABLES = 12
#: What the notebook's parameters are when nobody gives them.
_PLAIN = {"recovery_point": "latest", "timeline": "auto", "scratch": "", "checks": "all"}

Plot = dict[str, Any]


def promote_command(target: str, asked: dict[str, str]) -> str:
    """Return the command that verifies once more what was asked for, with a promoted scratch.

    >>> promote_command("billing", {"recovery_point": "latest", "timeline": "2"})
    'runbook run backup-verification --target billing -p timeline 2 -p promote true'
    """
    given = {name: value for name, value in asked.items() if value != _PLAIN[name]} | {"promote": "true"}
    words = [word for name, value in given.items() for word in ("-p", name, value)]
    return shlex.join(["runbook", "run", "backup-verification", "--target", target, *words])


def point_rows(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """The recovery point as it was written down, a row a fact."""
    commits = ("last commit included", "first commit left out")
    shown = {name: facts[name] for name in facts if name not in commits}
    for name in commits:
        commit = facts[name]
        shown[name] = (
            f"transaction {commit['xid']} at {commit['at']}, {commit['lsn']}" if commit else "none in the archive"
        )
    return [
        {"what": name, "value": value if value is not None else "the archive's end"} for name, value in shown.items()
    ]


def isolation_rows(settings: dict[str, str]) -> list[dict[str, str]]:
    """The settings that keep a scratch from reaching out, with what each means."""
    means = {
        "listen_addresses": "no network",
        "archive_mode": "no archive is written",
        "restore_command": "no command; WAL is laid ready by the run",
        "recovery_target_timeline": "explicit, never latest",
        "shared_preload_libraries": "only what params name",
        "max_connections": "at least what the primary had, WAL included",
    }
    return [{"setting": name, "value": settings[name] or "(empty)", "means": text} for name, text in means.items()]


def plot_sizes(scratch: Scratch, database: str) -> Plot | None:
    """The largest tables of the database; None when it has none."""
    file = load_sql("shown/table_sizes")
    try:
        with scratch.connect(database) as connection:
            tables = rows(connection, file.text, file.values({"most": _MOST_TABLES}))
    except (SqlError, PlatformError):
        return None  # the checks of this database have said why it cannot be read; there is nothing to draw
    if not tables:
        return None
    largest = tables[0]
    return {
        "labels": [row["relation"] for row in tables],
        "values": [row["size_bytes"] / (1 << 20) for row in tables],
        "title": f"Largest tables of {database}",
        "unit": "MiB",
        "finding": f"{largest['relation']} is the largest with {human_bytes(largest['size_bytes'])}, indexes included.",
    }


def plot_daily_volume(way: Way, files: list[CheckFile], given: dict[str, Any]) -> Plot | None:
    """New rows by day before the point, from the check of that name; None when it is not among the checks."""
    file = next((item for item in files if item.name == "daily_volume"), None)
    if file is None:
        return None
    try:
        days = ask_check(file, way, given)
    except (SqlError, PlatformError):
        return None  # the check of the same file has said UNKNOWN with the reason; there is nothing to draw
    if not days:
        return None
    least = min(days, key=lambda row: row["daily_volume"])
    return {
        "labels": [f"{row['day_begins']:%Y-%m-%d %H:%M}" for row in days],
        "values": [row["daily_volume"] for row in days],
        "title": "New vehicles in each of the seven days before the point",
        "unit": "rows",
        "finding": f"The weakest day, from {least['day_begins']:%Y-%m-%d %H:%M} UTC, has {least['daily_volume']} new vehicles.",
    }
