"""Whoever sends may be killed while a channel is spoken to: afterwards each message is known, or said to be unknown, and none goes twice unsaid."""

from __future__ import annotations

import pytest
from callhouse import (
    REVIEW,
    add_contacts,
    add_review,
    add_slow_contacts,
    channel,
    kill_while_sending,
    mail_to,
    review,
    waiting_run,
)
from house import House, wait_until
from posthouse import mail_server, web_server

pytestmark = pytest.mark.faults

UNKNOWN = "not known whether it went out"


def test_page_that_was_killed_says_of_each_channel_what_is_known_and_the_next_one_says_it_too(house: House) -> None:
    with web_server() as web, mail_server() as (box, port):
        add_slow_contacts(house, web, port)
        run = waiting_run(house)
        process = house.start("page", "dba", "--run", run)
        wait_until(lambda: web.bodies)
        alive = house.runbook("status", run)
        assert "PAGING dba since" in alive.stdout, alive.stdout
        kill_while_sending(process, box, web)
        said = house.runbook("status", run).stdout
        assert "PAGED The page to dba at" in said and "broke off" in said, said
        assert f"ann by ann-mail: accepted by the channel, not: read; ann by ann-hook: {UNKNOWN}" in said, said
        house.env["ANN_HOOK"] = f"json://127.0.0.1:{web.port}/200"
        again = house.runbook("page", "dba", "--run", run)
        bodies, mails = list(web.bodies), list(box.mails)
    assert again.code == 0 and "broke off" in again.stdout, again.stdout
    assert (len(bodies), len(mails)) == (2, 2)
    for text in (
        str(bodies[1]),
        str(mails[1].get_content() if not mails[1].is_multipart() else mails[1].get_body(("plain",))),
    ):
        assert "It is sent again: The page to dba at" in text, text
    assert "It is sent again" not in str(bodies[0])
    record = house.record(again)
    assert any("broke off" in one and f"ann by ann-hook: {UNKNOWN}" in one for one in record["limitations"]), record[
        "limitations"
    ]
    assert [page["outcome"] for page in record["facts"]["pages"]] == ["it broke off", "accepted"]


def test_review_that_was_killed_sends_nothing_twice_when_it_is_resumed(house: House) -> None:
    with web_server() as web, mail_server() as (box, port):
        add_slow_contacts(house, web, port)
        add_review(house)
        process = house.start(*REVIEW, "-p", "dry_run", "false")
        kill_while_sending(process, box, web)
        (run,) = house.runs()
        resumed = house.runbook("resume", run)
        third = house.runbook("resume", run)
        assert [mail["To"] for mail in box.mails] == ["ann@corp.net", "bob@corp.net"]
        assert len(web.bodies) == 1, "nobody knows whether it went out: it is not sent again"
    assert (resumed.code, third.code) == (4, 4), resumed.stdout
    for result in (resumed, third):
        checks = {one["id"]: one for one in house.record(result)["checks"] if one["id"].startswith("delivery-")}
        statuses = {name: one["status"] for name, one in checks.items()}
        assert statuses == {
            "delivery-ann/ann-mail": "PASS",
            "delivery-ann/ann-hook": "UNKNOWN",
            "delivery-bob/bob-mail": "PASS",
        }
        hook = checks["delivery-ann/ann-hook"]
        assert hook["observed"] == UNKNOWN and "it was not sent again" in hook["reason"]
        assert "Ask Ann Lee (phone +49 30 901820) whether it has come" in hook["next"]


def test_refused_message_is_sent_again_when_the_run_is_resumed(house: House) -> None:
    with web_server() as web, mail_server() as (box, port):
        addresses = {"ANN_MAIL": mail_to(port), "BOB_HOOK": f"json://127.0.0.1:{web.port}/500"}
        add_contacts(house, channel("ANN_MAIL"), channel("BOB_HOOK"), **addresses)
        first = review(house, "-p", "dry_run", "false")
        assert first.code == 1, first.stdout
        house.env["BOB_HOOK"] = f"json://127.0.0.1:{web.port}/200"
        second = house.runbook("resume", house.runs()[0])
    assert (second.code, len(web.bodies), len(box.mails)) == (0, 2, 1), second.stdout
