"""Somebody is called about a run, by real servers; the run's record says who, by which channel, and what came of it."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from callhouse import GATE, add_contacts, channel, mail_to, review, waiting_run
from house import CONCLUDE, PASSING, House
from posthouse import free_port, mail_server, web_server

pytestmark = pytest.mark.faults

CANARY = "kT9rVw3xQz7LmN2p"
TOKEN = "Zq8xW2vTn5LkRd7m"


def pages(house: House, result: Any) -> list[dict[str, Any]]:
    found = house.record(result)["facts"]["pages"]
    assert isinstance(found, list)
    return found


def test_page_says_what_waits_and_where_to_read_on_and_stands_in_a_record(house: House) -> None:
    with mail_server() as (box, port):
        add_contacts(house, channel("ANN_MAIL"), ANN_MAIL=mail_to(port))
        run = waiting_run(house)
        result = house.runbook("page", "dba", "--run", run, "--message", "please hurry")
    assert (result.code, result.last["verdict"]) == (0, "PAGED"), result.stdout + result.stderr
    (mail,) = box.mails
    assert mail["Subject"] == "PAGE dba: WAITING on sandbox: task"
    body = (mail.get_body(("plain",)) or mail).get_content()
    for part in ("please hurry", "question 'Choose the way': Which?", f"runbook answer {run}", f"runbook status {run}",
                 "reports/records/000001-", "sandbox (sandbox)"):  # fmt: skip
        assert part in body, body
    assert "whether a person has read it" in result.last["reason"]
    (page,) = pages(house, result)
    assert (page["role"], page["outcome"], page["message"]) == ("dba", "accepted", "please hurry")
    assert [(one["person"], one["status"]) for one in page["deliveries"]] == [("ann", "PASS")]
    assert "000002-" in result.last["record"]
    assert house.runbook("archive", "verify").code == 0
    resumed = house.runbook("answer", run, "choose-the-way", "left", "--reason", "so")
    assert resumed.code == 0, resumed.stderr
    after = house.runbook("resume", run)
    assert (after.code, len(pages(house, after))) == (0, 1), after.stderr


def test_second_channel_and_then_the_deputy_are_tried(house: House) -> None:
    with web_server() as web, mail_server() as (box, port):
        two = f"{channel('ANN_HOOK')}, {channel('ANN_MAIL')}"
        ann = {"ANN_HOOK": f"json://127.0.0.1:{web.port}/500", "ANN_MAIL": mail_to(port)}
        add_contacts(house, two, channel("BOB_MAIL"), **ann, BOB_MAIL=mail_to(port, "bob@corp.net"))
        run = waiting_run(house)
        first = house.runbook("page", "dba", "--run", run)
        assert [mail["To"] for mail in box.mails] == ["ann@corp.net"]
        house.env["ANN_MAIL"] = mail_to(port, "nobody@corp.net")
        second = house.runbook("page", "dba", "--run", run)
        assert [mail["To"] for mail in box.mails] == ["ann@corp.net", "bob@corp.net"]
    assert (first.code, second.code) == (0, 0)
    found = [[(one["channel"], one["status"]) for one in page["deliveries"]] for page in pages(house, second)]
    assert found == [
        [("ann-hook", "FAIL"), ("ann-mail", "PASS")],
        [("ann-hook", "FAIL"), ("ann-mail", "FAIL"), ("bob-mail", "PASS")],
    ]


def test_nobody_reached_is_a_fail_with_numbers_to_phone_and_stands_at_the_top(house: House) -> None:
    add_contacts(house, channel("ANN_MAIL"), ANN_MAIL=mail_to(free_port()))
    run = waiting_run(house)
    result = house.runbook("page", "dba", "--run", run)
    assert (result.code, result.last["verdict"]) == (1, "FAIL"), result.stderr
    assert "Ann Lee, on duty: phone +49 30 901820" in result.stdout and "Bob Ray" in result.stdout
    assert "+49 30 901820" in result.last["next"]
    assert any("reached nobody: no channel accepted it" in line for line in house.record(result)["limitations"])


def test_secret_that_is_not_there_is_unknown(house: House) -> None:
    add_contacts(house, channel("ANN_MAIL"))
    result = house.runbook("page", "dba", "--run", waiting_run(house))
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE")
    assert "not sent" in result.stdout and "ANN_MAIL" in result.stdout


def test_who_is_off_duty_is_called_only_when_asked_for(house: House) -> None:
    yesterday = f"{datetime.fromtimestamp(datetime.now(UTC).timestamp() - 3 * 86400, UTC):%A} 10:00-10:01"
    with mail_server() as (box, port):
        bob = {"ANN_MAIL": mail_to(port, "nobody@corp.net"), "BOB_MAIL": mail_to(port, "bob@corp.net")}
        add_contacts(house, channel("ANN_MAIL"), channel("BOB_MAIL"), bob_hours=yesterday, **bob)
        run = waiting_run(house)
        alone = house.runbook("page", "dba", "--run", run)
        assert (alone.code, box.mails) == (1, [])
        assert "off duty now: phone +49 30 901821" in alone.stdout and "--anyone" in alone.stdout
        assert house.runbook("page", "dba", "--run", run, "--anyone", "--dry-run").code == 0
        assert box.mails == []
        assert house.runbook("page", "dba", "--run", run, "--anyone").code == 0
        assert [mail["To"] for mail in box.mails] == ["bob@corp.net"]


def test_hook_pages_and_the_same_record_says_so(house: House) -> None:
    house.add_params(more="hooks:\n  on_waiting: {command: [runbook, page, dba], timeout: 1 min}\n")
    with mail_server() as (box, port):
        add_contacts(house, channel("ANN_MAIL"), ANN_MAIL=mail_to(port))
        house.add_notebook("task", GATE, CONCLUDE)
        result = house.runbook("run", "task")
    assert (result.code, len(box.mails)) == (3, 1), result.stderr
    record = house.record(result)
    assert [hook["ok"] for hook in record["facts"]["notified"]] == [True], record["facts"]
    assert [page["outcome"] for page in record["facts"]["pages"]] == ["accepted"]


def test_run_at_work_is_paged_about_without_its_lock(house: House) -> None:
    house.add_notebook("task", 'import pathlib, time\npathlib.Path("started").touch()\ntime.sleep(60)', CONCLUDE)
    with mail_server() as (box, port):
        add_contacts(house, channel("ANN_MAIL"), ANN_MAIL=mail_to(port))
        process = house.start("run", "task")
        house.wait_for("started")
        result = house.runbook("page", "dba", "--run", house.runs()[0])
    assert result.code == 0, result.stderr
    assert box.mails[0]["Subject"] == "PAGE dba: RUNNING on sandbox: task"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    (record,) = sorted((house.home / "reports" / "records").iterdir())
    assert '"outcome": "accepted"' in (record / "run.json").read_text().replace('":"', '": "')


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("page", "dbaa", "--run", "{run}"), "did you mean 'dba'?"),
        (("page", "dba", "--run", "nothing"), "There is no run"),
        (("page", "dba"), "which run"),
        (("page", "dba", "--run", "{run}", "--message", "password=hunter2hunter2"), "looks like a secret"),
    ],
)
def test_page_that_cannot_be_made_is_refused(house: House, argv: tuple[str, ...], says: str) -> None:
    add_contacts(house, channel("ANN_MAIL"), ANN_MAIL=mail_to(free_port()))
    house.add_notebook("task", PASSING, CONCLUDE)
    run = str(house.runbook("run", "task").last["run"])
    result = house.inside(*(word.format(run=run) for word in argv))
    assert (result.code, says in result.last["reason"]) == (2, True), result.stderr
    assert "hunter2" not in result.stdout + result.stderr
    assert not any(event["event"].startswith("page-") for event in house.journal(run))


def test_review_sends_to_each_channel_once_and_passes(house: House) -> None:
    with mail_server() as (box, port):
        addresses = {"ANN_MAIL": mail_to(port), "BOB_MAIL": mail_to(port, "bob@corp.net")}
        add_contacts(house, channel("ANN_MAIL"), channel("BOB_MAIL"), **addresses)
        dry = review(house)
        assert (dry.code, box.mails) == (0, []), dry.stdout
        result = review(house, "-p", "dry_run", "false")
    assert result.code == 0, result.stdout
    assert sorted(mail["To"] for mail in box.mails) == ["ann@corp.net", "bob@corp.net"]
    assert {mail["Subject"] for mail in box.mails} == {"TEST, nothing has happened: can you be reached about billing?"}
    observed = {check["observed"] for check in house.record(result)["checks"] if check["id"].startswith("delivery-")}
    assert observed == {"accepted by the channel, not: read"}


@pytest.mark.parametrize(("bob", "code", "status"), [("json://127.0.0.1:{port}/500", 1, "FAIL"), ("", 4, "UNKNOWN")])
def test_one_channel_of_two_decides_the_verdict(house: House, bob: str, code: int, status: str) -> None:
    with web_server() as web, mail_server() as (_, port):
        addresses = {"ANN_MAIL": mail_to(port), "BOB_HOOK": bob.format(port=web.port)}
        add_contacts(house, channel("ANN_MAIL"), channel("BOB_HOOK"), **addresses)
        result = review(house, "-p", "dry_run", "false")
    assert result.code == code, result.stdout
    by_id = {check["id"]: check["status"] for check in house.record(result)["checks"]}
    assert (by_id["delivery-ann/ann-mail"], by_id["delivery-bob/bob-hook"]) == ("PASS", status)


def test_secrets_of_addresses_are_found_nowhere(house: House) -> None:
    with web_server() as web:
        secret = f"json://dba:{CANARY}pw@127.0.0.1:{web.port}/{TOKEN}/500"
        add_contacts(house, channel("ANN_HOOK"), channel("BOB_MAIL"), ANN_HOOK=secret,
                     BOB_MAIL=f"mailtos://bob:{CANARY}@127.0.0.1:{free_port()}/?to=bob@corp.net")  # fmt: skip
        run = waiting_run(house)
        leak = 'import os\nhook = os.environ["ANN_HOOK"]\nprint(hook, hook.split("/")[-2], os.environ["BOB_MAIL"])'
        house.add_notebook("leak", leak, CONCLUDE, number=2)
        results = [house.runbook("page", "dba", "--run", run), review(house, "-p", "dry_run", "false")]
        results.append(house.runbook("run", "leak"))
    assert [result.code for result in results][:2] == [1, 1], results
    for result in results:
        assert CANARY not in result.stdout + result.stderr and TOKEN not in result.stdout + result.stderr
    assert holding(house.home, CANARY) + holding(house.home, TOKEN) == []


def holding(folder: Path, text: str) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]
