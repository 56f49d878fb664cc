"""The quarterly proof of the contacts: only a full test message, accepted by every channel, within the quarter, does it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import yaml
from callhouse import add_contacts, channel, mail_to, review
from controlhouse import a_control
from house import House
from posthouse import mail_server

pytestmark = pytest.mark.faults


def add_control(house: House) -> None:
    """The proof is due since the first day of this quarter."""
    now = datetime.now(UTC)
    first = datetime(now.year, (now.month - 1) // 3 * 3 + 1, 1, tzinfo=UTC)
    control = a_control(
        id="contacts",
        runbook="escalation",
        every="quarter",
        day="day 1",
        at="00:00",
        grace="1 s",
        since=f"{first:%Y-%m-%d}",
    )
    text = yaml.safe_dump({"controls": [control.model_dump(mode="json")]})
    (house.home / "params" / "controls.yaml").write_text(text)


def test_contacts_are_overdue_until_every_channel_has_taken_a_test_message(house: House) -> None:
    add_control(house)
    with mail_server() as (box, port):
        addresses = {"ANN_MAIL": mail_to(port), "BOB_MAIL": mail_to(port, "bob@corp.net")}
        add_contacts(house, channel("ANN_MAIL"), channel("BOB_MAIL"), **addresses)
        dry = review(house)
        assert dry.code == 0, dry.stdout
        overdue = house.runbook("due")
        assert overdue.code == 1 and "OVERDUE: contacts of billing" in overdue.stdout, overdue.stdout
        path = house.home / "params" / "contacts.yaml"
        path.write_text(
            path.read_text().replace(
                "id: dba, title: The dba, person: ann, deputies: [bob]", "id: dba, title: The dba, person: ann"
            )
        )
        part = review(house, "-p", "dry_run", "false", "-p", "roles", "dba")
        assert part.code == 0, part.stdout
        assert [mail["To"] for mail in box.mails] == ["ann@corp.net"]
        assert any("nobody tries bob" in one for one in house.record(part)["limitations"])
        assert house.runbook("due").code == 1, "a part of the people is no proof"
        whole = review(house, "-p", "dry_run", "false")
        assert whole.code == 0, whole.stdout
    assert house.record(whole)["satisfies_controls"] is True
    done = house.runbook("due")
    assert (done.code, "Nothing is overdue" in done.stdout) == (0, True), done.stdout


def test_people_without_any_channel_are_no_proof(house: House) -> None:
    add_control(house)
    add_contacts(house, channel("ANN_MAIL"))
    path = house.home / "params" / "contacts.yaml"
    lines = [line for line in path.read_text().splitlines() if "channels:" not in line]
    path.write_text("\n".join(lines) + "\n")
    result = review(house, "-p", "dry_run", "false")
    assert (result.code, house.record(result)["satisfies_controls"]) == (0, False), result.stdout
    assert house.runbook("due").code == 1
