"""Contacts of a test's own, whose channels are real servers on loopback, and runs to call them about."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from typing import Any

from house import CONCLUDE, PASSING, House
from runbook import layout

GATE = 'run.ask("Choose the way", "Which?", {"left": "there", "right": "here"})'

CONTACTS = """\
confirmation: {{within: 90 d, source: the tests}}
escalation: [{{role: dba, after_minutes: 0, when: always, source: the tests}}]
rosters:
  - environments: [sandbox, production]
    people:
      - id: ann
        name: Ann Lee
        phone: "+49 30 901820"
        channels: [{ann}]
        hours: ["24x7"]
        confirmed: {today}
      - id: bob
        name: Bob Ray
        phone: "+49 30 901821"
        channels: [{bob}]
        hours: ["{bob_hours}"]
        confirmed: {today}
    roles:
{roles}"""
NIGHTLESS = "      - {{id: {0}, title: The {0}, person: ann, deputies: [bob]}}\n"


def channel(name: str, timeout: str = "10 s") -> str:
    return f"{{id: {name.lower().replace(chr(95), chr(45))}, address: {{env: {name}}}, shown: {name.lower()} of the tests, timeout: {timeout}}}"


def add_contacts(house: House, ann: str, bob: str = "", bob_hours: str = "24x7", **addresses: str) -> None:
    roles = "".join(NIGHTLESS.format(one) for one in ("dba", "devops-lead", "incident-commander", "vendor-support"))
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    text = CONTACTS.format(ann=ann, bob=bob, bob_hours=bob_hours, today=today, roles=roles)
    (house.home / "params" / "contacts.yaml").write_text(text)
    house.env.update(addresses, NO_PROXY="127.0.0.1")


def mail_to(port: int, to: str = "ann@corp.net") -> str:
    return f"mailto://127.0.0.1:{port}/?from=run@corp.net&to={to}"


def waiting_run(house: House) -> str:
    house.add_notebook("task", GATE, PASSING, CONCLUDE)
    result = house.runbook("run", "task")
    assert result.code == 3, result.stderr
    return str(result.last["run"])


REVIEW = ("run", "escalation", "--target", "billing")


def add_review(house: House) -> None:
    """The notebook of the contacts, and a production target that they answer for."""
    shutil.copy(layout.CHECKOUT / "notebooks" / "06_escalation.ipynb", house.home / "notebooks")
    house.add_params("billing", "production")


def review(house: House, *more: str) -> Any:
    add_review(house)
    return house.runbook(*REVIEW, *more)
