"""`runbook doctor` says who would not be reached now: a line each, with what to do; nothing is sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from controlhouse import write_params
from runbook.cli.main import run_cli

NOW = datetime.now(UTC)
TODAY = f"{NOW:%Y-%m-%d}"
#: Two days from now, so that no clock and no zone makes it now.
OFF_DUTY = f"{NOW + timedelta(days=2):%A} 10:00-10:01"
GOOD = f"""\
confirmation: {{within: 90 d, source: the rule}}
rosters:
  - environments: [staging, production]
    people:
      - id: ann
        name: Ann Lee
        phone: "+49 30 901820"
        channels: [{{id: hook, address: {{env: ANN_HOOK}}, shown: the pager of Ann}}]
        hours: ["24x7"]
        confirmed: {TODAY}
      - id: bob
        name: Bob Ray
        phone: "+49 30 901821"
        hours: ["24x7"]
        time_zone: Europe/Berlin
        confirmed: {TODAY}
    roles:
      - {{id: dba, title: DBA, person: ann, deputies: [bob]}}
      - {{id: devops-lead, title: DevOps, person: ann, deputies: [bob]}}
      - {{id: incident-commander, title: Commander, person: ann, deputies: [bob]}}
      - {{id: vendor-support, title: Vendor, person: bob}}
  - environments: [sandbox]
    people: [{{id: nobody, name: Nobody, practice: true, phone: none, hours: ["24x7"]}}]
    roles:
      - {{id: dba, title: DBA, person: nobody}}
      - {{id: devops-lead, title: DevOps, person: nobody}}
      - {{id: incident-commander, title: Commander, person: nobody}}
      - {{id: vendor-support, title: Vendor, person: nobody}}
"""
SECRET = "json://127.0.0.1:1/Zq8xW2vTn5LkRd7m"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def said(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What doctor says of contacts with this text, and this secret."""
    write_params(home, "billing")

    def look(text: str, secret: str | None = SECRET) -> list[str]:
        (home / "params" / "contacts.yaml").write_text(text)
        monkeypatch.delenv("ANN_HOOK", raising=False)
        if secret is not None:
            monkeypatch.setenv("ANN_HOOK", secret)
        run_cli(["doctor"])
        out = capsys.readouterr().out
        assert SECRET.rpartition("/")[2] not in out
        return [line for line in out.splitlines() if "contacts of " in line or "contacts.yaml" in line]

    return look


def test_good_contacts_are_one_line_for_each_roster(said: Callable[..., list[str]]) -> None:
    lines = said(GOOD)
    assert [line[:4] for line in lines] == ["ok  ", "ok  "], lines
    assert "contacts of staging, production: " in lines[0] + lines[1]


@pytest.mark.parametrize(
    ("old", "new", "says", "then"),
    [
        ("name: Ann Lee", 'name: "[DBA]"', "ann: name is still '[DBA]'", "Fill in the name of ann"),
        (f"time_zone: Europe/Berlin\n        confirmed: {TODAY}", "time_zone: Europe/Berlin\n        confirmed: 2026-01-01", "bob was last confirmed", "Ask bob"),
        (f"confirmed: {TODAY}\n      - id: bob", "confirmed: 2999-01-01\n      - id: bob", "ann: 2999-01-01 lies in the future", "Ask ann"),
        ("time_zone: Europe/Berlin", "time_zone: Europe/Berln", "did you mean 'Europe/Berlin'?", "Correct the file"),
        ('hours: ["24x7"]\n        time_zone', 'hours: ["office hours"]\n        time_zone', "are no hours", "Correct the file"),
        ('hours: ["24x7"]\n        time_zone', f'hours: ["{OFF_DUTY}"]\n        time_zone', "Nobody is on call for vendor-support now", "Bob Ray, phone +49 30 901821"),
        ("- environments: [staging, production]", "- environments: [staging]", "no roster for the environment 'production'", "Add one"),
        ("      - {id: incident-commander, title: Commander, person: ann, deputies: [bob]}\n", "", "No incident-commander", "Add the role"),
    ],
)  # fmt: skip
def test_what_would_reach_nobody_is_a_line_with_what_to_do(
    said: Callable[..., list[str]], old: str, new: str, says: str, then: str
) -> None:
    assert GOOD.count(old) == 1
    ill = [line for line in said(GOOD.replace(old, new)) if line.startswith("FIX")]
    assert len(ill) == 1 and says in ill[0], ill
    assert then in ill[0].partition("Next: ")[2], ill


@pytest.mark.parametrize(
    ("secret", "says", "then"),
    [
        (None, "ANN_HOOK (ann, hook) is not set", "export ANN_HOOK"),
        ("nonsense-without-any-scheme", "ann/hook: apprise does not understand the address", "Correct the secret"),
        ("json://pager.example.com/hook-of-ann", "ann/hook: the address holds a placeholder", "Correct the secret"),
    ],
)
def test_address_that_cannot_be_had_or_used_is_a_line(
    said: Callable[..., list[str]], secret: str | None, says: str, then: str
) -> None:
    (ill,) = [line for line in said(GOOD, secret) if line.startswith("FIX")]
    assert says in ill and then in ill.partition("Next: ")[2], ill


def test_accepted_gap_is_no_fault_now(said: Callable[..., list[str]]) -> None:
    text = GOOD.replace('hours: ["24x7"]\n        time_zone', f'hours: ["{OFF_DUTY}"]\n        time_zone')
    text = text.replace("title: Vendor, person: bob}", "title: Vendor, person: bob, gaps_accepted: the portal is open}")
    assert [line for line in said(text) if line.startswith("FIX")] == []


def test_missing_contacts_are_a_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_params(home, "billing")
    assert run_cli(["doctor"]) == 4
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "contacts.yaml does not exist" in line]
    assert line.startswith("FIX") and "Next: Copy " in line
