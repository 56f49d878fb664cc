"""Contacts of a test's own, whose channels are real servers on loopback, and runs to call them about."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from datetime import UTC, datetime
from typing import Any

import psutil
from house import CONCLUDE, PASSING, House, wait_until
from posthouse import Box, Web
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


def add_slow_contacts(house: House, web: Web, port: int) -> None:
    """Ann has a mailbox that works and a hook that takes the message and never ends its answer; then comes Bob."""
    ann = f"{channel('ANN_MAIL')}, {channel('ANN_HOOK', timeout='5 min')}"
    addresses = {"ANN_MAIL": mail_to(port), "ANN_HOOK": f"json://127.0.0.1:{web.port}/drip"}
    add_contacts(house, ann, channel("BOB_MAIL"), **addresses, BOB_MAIL=mail_to(port, "bob@corp.net"))


def kill_while_sending(process: subprocess.Popen[str], box: Box, web: Web) -> None:
    """The command and its kernel are killed once Ann has her mail and her hook has the message; what delivers is left to live."""
    wait_until(lambda: web.bodies)
    assert len(box.mails) == 1
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in family:
        if "runbook.outside.notify" not in " ".join(one.cmdline()):
            os.kill(one.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
