"""A home with controls, targets and an archive of signed records, to count what was due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from archivehouse import FILES, House, a_record, make_key, open_run, run_id
from runbook.archive.records import commit_record
from runbook.cli.main import run_cli
from runbook.model import RunRecord, TargetFacts, Verdict
from runbook.params.controls import Control

REFERENCES = {"SOC 2": "A1.3"}


def at(text: str) -> datetime:
    """A time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def a_control(**changes: object) -> Control:
    """The monthly backup verification, first Sunday, from the beginning of 2026."""
    fields: dict[str, object] = {
        "id": "backup-verification",
        "title": "Monthly backup verification",
        "runbook": "backup-verification",
        "every": "month",
        "day": "first Sunday",
        "at": "03:00",
        "grace": "7 d",
        "since": "2026-01-01",
        "source": "section 7",
        "references": REFERENCES,
    }
    return Control.model_validate({**fields, **changes})


def done(number: int, ended: datetime, **changes: object) -> RunRecord:
    """A record that ended then and does what is due, unless changed."""
    return a_record(number, started_at=ended - timedelta(seconds=30), ended_at=ended, **changes)


def target_facts(name: str = "billing", environment: str = "production") -> TargetFacts:
    return TargetFacts(name=name, environment=environment, platform="cluster")


#: Every way in which a run does nothing of what is due, and what is said of it.
SHORT = {
    "fail": ({"verdict": Verdict.FAIL, "satisfies_controls": False}, "its verdict is FAIL"),
    "incomplete": ({"verdict": Verdict.INCOMPLETE, "satisfies_controls": False}, "its verdict is INCOMPLETE"),
    "waiting": ({"verdict": Verdict.WAITING, "satisfies_controls": False}, "its verdict is WAITING"),
    "fail that says it satisfies": ({"verdict": Verdict.FAIL}, "its verdict is FAIL"),
    "dry": ({"parameters": {"dry_run": True}}, "it was a dry run"),
    "reduced": ({"satisfies_controls": False}, "its scope was reduced"),
    "sandbox": ({"target": target_facts(environment="sandbox")}, "it ran on a sandbox"),
}


def write_params(home: Path, *targets: str, controls: list[Control] | None = None) -> None:
    """The home has these production targets, a sandbox too, and the controls."""
    folder = home / "params"
    folder.mkdir(exist_ok=True)
    for name in (*targets, "sandbox"):
        content = {
            "target": name,
            "environment": "sandbox" if name == "sandbox" else "production",
            "platform": "cluster",
            "cluster": {"backup_folder": "/backups", "wal_archive": {"directory": "/archive"}},
            "budgets": {"rto": "30 min", "rpo": "5 min", "source": "SLA"},
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    listed = [one.model_dump(mode="json") for one in controls or [a_control()]]
    (folder / "controls.yaml").write_text(yaml.safe_dump({"controls": listed}))


def add_record(home: Path, number: int, ended: datetime, **changes: object) -> Path:
    """The record is archived and signed."""
    open_run(home, number)
    return commit_record(FILES, done(number, ended, run=run_id(number), **changes))


def add_person(house: House, name: str = "ann@example.org") -> Path:
    """The person may sign; returns their key."""
    key = make_key(house.home / f"key-{name.partition('@')[0]}")
    assert run_cli(["keys", "add", name, f"{key}.pub", "--witness"]) == 0
    return key
