"""The contacts' notebook cell by cell in a kernel of its own, as in JupyterLab: secrets travel by name, and each delivery is journaled and archived."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nbformat
import pytest
from callhouse import add_contacts, add_review, add_slow_contacts, channel, kill_while_sending, mail_to
from house import House
from posthouse import mail_server, web_server

CANARY = "kT9rVw3xQz7LmN2p"
BY_HAND = [sys.executable, str(Path(__file__).with_name("byhand.py"))]
CELLS = ("parameters", "open", "read", "entries", "stale", "now", "gaps", "gaps-rows", "levels", "addresses", "send")


def prepare(house: House) -> Path:
    """The notebook with its parameters set for a real test, and a cell that leaks."""
    add_review(house)
    path = house.home / "notebooks" / "06_escalation.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.id == "parameters":
            cell.source = cell.source.replace('"sandbox"', '"billing"').replace("dry_run = True", "dry_run = False")
    notebook.cells.append(nbformat.v4.new_code_cell("import os\nprint(os.environ['BOB_HOOK'])", id="leak"))
    changed = house.home / "by-hand.ipynb"
    nbformat.write(notebook, changed)
    return changed


def test_cells_by_hand_send_once_keep_secrets_and_are_archived(house: House) -> None:
    with web_server() as web, mail_server() as (box, port):
        hook = f"json://dba:{CANARY}pw@127.0.0.1:{web.port}/{CANARY}/200"
        add_contacts(house, channel("ANN_MAIL"), channel("BOB_HOOK"), ANN_MAIL=mail_to(port), BOB_HOOK=hook)
        path = prepare(house)
        ran = house.runbook(str(path), str(path), *CELLS, "leak", "send", "conclude", program=BY_HAND)
        assert ran.code == 0, ran.stderr
        shown = json.loads(ran.stdout.strip().splitlines()[-1])
        sent, leak, again, concluded = shown[-4:]
        assert "accepted by the channel" in sent and "not sent again" not in sent
        assert CANARY not in leak and "secret BOB_HOOK" in leak
        assert "it was not sent again" in again
        assert (len(box.mails), len(web.bodies)) == (1, 1), "a cell that is run twice rings once"
        assert "PASS: " in concluded
    (run,) = house.runs()
    kept = [event["value"]["went"] for event in house.journal(run) if event["event"] == "remembered"]
    assert kept == ["not known whether it went out", "accepted by the channel, not: read"] * 2
    closed = house.runbook("close", run, "--notebook", str(path))
    assert (closed.code, closed.last["verdict"]) == (0, "PASS"), closed.stderr
    record = house.record(closed)
    checks = {one["id"]: one["status"] for one in record["checks"] if one["id"].startswith("delivery-")}
    assert checks == {"delivery-ann/ann-mail": "PASS", "delivery-bob/bob-hook": "PASS"}
    assert record["started_by"] == "notebook"
    assert [str(one) for one in house.home.rglob("*") if one.is_file() and CANARY.encode() in one.read_bytes()] == []


@pytest.mark.faults
def test_kernel_that_is_killed_while_it_sends_leaves_what_is_known(house: House) -> None:
    with web_server() as web, mail_server() as (box, port):
        add_slow_contacts(house, web, port)
        path = prepare(house)
        process = house.start(str(path), str(path), *CELLS, program=BY_HAND)
        kill_while_sending(process, box, web)
        (run,) = house.runs()
        closed = house.runbook("close", run)
        assert (closed.code, closed.last["verdict"]) == (4, "INCOMPLETE"), closed.stderr
        resumed = house.runbook("resume", run)
        assert resumed.code == 4, resumed.stdout
        assert ([mail["To"] for mail in box.mails], len(web.bodies)) == (["ann@corp.net", "bob@corp.net"], 1)
    observed = {
        one["id"]: one["status"] for one in house.record(resumed)["checks"] if one["id"].startswith("delivery-")
    }
    assert observed == {
        "delivery-ann/ann-mail": "PASS",
        "delivery-ann/ann-hook": "UNKNOWN",
        "delivery-bob/bob-mail": "PASS",
    }
