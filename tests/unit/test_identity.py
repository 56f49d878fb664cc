"""Who the operator is: the kernel says, and what only the environment says is a claim; one person has one form of name everywhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from gatehouse import GateHouse
from runbook import clock, layout
from runbook.cli.main import run_cli
from runbook.errors import OperatorError, ParamsError
from runbook.gates import signing
from runbook.gates.operators import Operator, login_uid, user_name, who
from runbook.params.names import plain_name
from runbook.runner.record import record_of
from runbook.session import identity, notebook
from runbook.session.gate import Passage, Stop
from runbook.session.request import create_run, new_run_id

USERS = {0: "root", 26: "postgres", 1000: "olaf", 1001: "ann"}


def judged(real: int, login: int | None, ancestors: list[int], **environment: str) -> Operator:
    return who(real, login, ancestors, environment, USERS.__getitem__)


@pytest.mark.parametrize(
    ("real", "login", "ancestors", "environment", "user", "claimed"),
    [
        (1000, 1000, [1000, 0], {"LOGNAME": "ann", "USER": "ann"}, "olaf", ("LOGNAME=ann", "USER=ann")),
        (0, 1000, [0, 1000, 0], {"SUDO_USER": "olaf", "SUDO_UID": "1000", "LOGNAME": "root"}, "olaf", ()),
        (0, 1000, [0, 0], {"SUDO_USER": "ann", "SUDO_UID": "1001"}, "olaf", ("SUDO_USER=ann", "SUDO_UID=ann")),
        (0, None, [0, 0], {"SUDO_USER": "ann"}, "root", ("SUDO_USER=ann",)),
        (0, None, [0, 1000, 0], {}, "olaf", ()),
        (0, None, [0, 1000, 0], {"SUDO_USER": "ann"}, "olaf", ("SUDO_USER=ann",)),
        (26, 1000, [0, 1000, 0], {"SUDO_USER": "olaf"}, "olaf", ()),
        (26, None, [0, 0], {"USER": "postgres"}, "postgres", ()),
        (0, 0, [0], {}, "root", ()),
        (1001, 1000, [1001, 1000], {}, "olaf", ()),
        (0, None, [0], {"SUDO_UID": "nonsense"}, "root", ("SUDO_UID=nonsense",)),
    ],
    ids=[
        "names set", "sudo", "sudo with another name set", "container: sudo is a claim", "container: the session's process",
        "container: the session's process against a claim", "service account by sudo", "cron", "root at the console", "su", "nonsense",
    ],
)  # fmt: skip
def test_operator_is_whom_the_kernel_names_and_claims_are_labelled(
    real: int, login: int | None, ancestors: list[int], environment: dict[str, str], user: str, claimed: tuple[str, ...]
) -> None:
    found = judged(real, login, ancestors, **environment)
    assert (found.user, found.claimed) == (user, claimed)
    assert {plain_name(one.partition("=")[2]) for one in claimed} <= {plain_name(name) for name in found.names}


def test_every_user_who_had_a_hand_in_it_is_an_operator() -> None:
    assert judged(0, 1000, [0, 1001, 1000, 0]).names == ("olaf", "root", "ann")


def asked(argv: list[str], **environment: str) -> dict[str, Any]:
    """What a process of its own says of who is at work."""
    code = "import json; from runbook.session import identity; print(json.dumps(identity.at_work().facts))"
    done = subprocess.run(
        [*argv, sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def test_environment_changes_nothing_in_a_real_process() -> None:
    honest = asked([])
    told = asked([], LOGNAME="other", USER="other", SUDO_USER="other", LNAME="other", USERNAME="other")
    assert told["operator"] == honest["operator"] == identity.operator()
    assert "SUDO_USER=other" in told["operator_claimed"] and "LOGNAME=other" in told["operator_claimed"]
    assert "other" in told["operator_names"]


def test_process_that_started_the_session_is_read_from_the_kernel() -> None:
    """Above a process of root stands one of another user, as below sudo; without root there is nobody else to be."""
    if os.getuid() != 0:
        assert asked([])["operator"] == user_name(os.getuid())
        return
    outer = "import os, subprocess, sys; os.setresuid(1, 0, 0); sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    inner = "import os, sys; os.setresuid(0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
    found = asked([sys.executable, "-c", outer, sys.executable, "-c", inner], SUDO_USER="other")
    assert found["operator"] == (user_name(login_uid() or 1))
    assert user_name(1) in found["operator_names"]


def test_root_of_a_namespace_of_ones_own_is_not_root() -> None:
    """`unshare --map-root-user` makes anybody root in their own eyes."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "--user", "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a namespace of user ids")
    honest = asked([])
    found = asked(["unshare", "--user", "--map-root-user"])
    assert found["operator"] == user_name(os.getuid()) == honest["operator"]
    other = asked(["unshare", "--user", "--map-user=1", "--setgroups=deny"])
    assert other["operator"] == user_name(os.getuid())
    assert user_name(1) in other["operator_names"]
    assert any(one.startswith("user namespace: ") for one in other["operator_claimed"])


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateHouse:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "home"))
    return GateHouse.build(tmp_path / "home")


def why_shut(house: GateHouse, **gate: Any) -> str:
    found = house.gate(**gate).look()
    assert isinstance(found, Stop), found
    return found.reason


def test_claim_is_labelled_in_run_json_and_in_the_report(house: GateHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    from runbook.report.view import operator_text

    monkeypatch.setenv("SUDO_USER", "other")
    house.start(2)
    record = record_of(house.state)
    assert (record.operator, record.operator_claimed) == (identity.operator(), ("SUDO_USER=other",))
    assert "claimed: SUDO_USER=other" in operator_text(record)


def test_run_opened_under_a_claimed_name_is_not_approved_by_whoever_opened_it(
    house: GateHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Olga, who is this process's user by the params, opens a run as 'other', and approves it with her own key."""
    key = house.person("olga")
    with monkeypatch.context() as patch:
        for name in ("SUDO_USER", "LOGNAME", "USER"):
            patch.setenv(name, "other")
        path = house.home / "notebooks" / "01_swap.ipynb"
        declared = notebook.read_parameters(notebook.read_notebook(path), "swap")
        values = {name: one.default for name, one in declared.items()}
        run = create_run(new_run_id("swap"), path, values, declared, house.params, started_by="runbook run")
        claimed = replace(house, folder=run)
        claimed.start(1)
        claimed.gate()
    with pytest.raises(OperatorError, match="is an operator of this run"):
        claimed.approve(key)
    claimed.forge(key, "olga")
    assert "nobody approves their own run" in why_shut(claimed)


#: The same mailbox as the operator's, olga@x.example, each with a second key.
SAME = (
    "OLGA@X.EXAMPLE", "Olga@x.example", "olga@x.example.", "olga+ops@x.example", "olgа@x.example", "ｏlga@x.example",
    "ólga@x.example", "o.lga@x.example", "olga\u200b@x.example",
)  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_operators_own_name_in_another_spelling_with_a_second_key_approves_nothing(house: GateHouse, name: str) -> None:
    key = house.home / "people" / "second"
    house.gate()
    if name.isascii():
        house.person("second", name)
        with pytest.raises(OperatorError, match="nobody approves their own run"):
            house.approve(key, principal=name)
    assert plain_name(name) == plain_name("olga@x.example")
    assert isinstance(house.gate().look(), Stop)


def test_user_in_another_spelling_is_found_in_the_params(house: GateHouse) -> None:
    user = identity.operator()
    house.params = house.tolerant(operators={user.upper(): "Olga@X.example"}).params
    key = house.person("olga")
    house.gate()
    house.forge(key, "olga")
    assert "nobody approves their own run" in why_shut(house)


def test_user_of_whom_the_params_say_nothing_is_whoever_has_that_mail_address(house: GateHouse) -> None:
    house.params = house.tolerant(operators={}).params
    key = house.person(identity.operator())
    house.gate()
    house.forge(key, identity.operator())
    assert "reads like" in why_shut(house)


def test_one_person_with_two_spellings_and_two_keys_counts_once(house: GateHouse) -> None:
    ann, again = house.person("ann"), house.person("again", "ANN+night@x.example")
    house.gate(needed=2)
    house.approve(ann)
    with pytest.raises(OperatorError, match="one person counts once"):
        house.approve(again)
    house.forge(again, "x", principal="ANN+night@x.example")
    assert "waits for 1 more approval of 2" in why_shut(house, needed=2)


CONTACTS = """\
confirmation: {within: 90 d, source: the tests}
rosters:
  - environments: [staging]
    people:
      - {id: %s, name: %s, email: %s, phone: "+1 555 0100", hours: ["24x7"]}
    roles:
      - {id: dba, title: DBA, person: %s}
"""


def contact(house: GateHouse, id: str, name: str, email: str) -> None:
    (layout.params() / "contacts.yaml").write_text(CONTACTS % (id, name, email, id))


def test_contacts_say_that_two_names_are_one_person(house: GateHouse) -> None:
    """Olga is the operator; under her full name she has a second key."""
    contact(house, "olga", "Olga Smith", "olga@x.example")
    key = house.person("smith", "olga.smith")
    house.gate()
    with pytest.raises(OperatorError, match=r"the params say that olga\.smith is"):
        house.approve(key)


def test_two_approvers_whom_the_contacts_know_as_one_count_once(house: GateHouse) -> None:
    contact(house, "ann", "Ann Miller", "ann@x.example")
    ann, miller = house.person("ann"), house.person("miller", "ann.miller")
    house.gate(needed=2)
    house.approve(ann)
    house.forge(miller, "x", principal="ann.miller")
    assert "ann.miller is ann@x.example by the params: one person counts once" in why_shut(house, needed=2)


def test_contacts_that_cannot_be_read_let_nobody_approve(house: GateHouse) -> None:
    (layout.params() / "contacts.yaml").write_text("people: [")
    key = house.person("ann")
    house.gate()
    with pytest.raises(ParamsError, match=r"contacts\.yaml"):
        house.approve(key)


def test_approver_in_another_spelling_is_the_approver_of_the_params(house: GateHouse) -> None:
    house.params = house.tolerant(approvers=("Ann@X.example",)).params
    key = house.person("ann")
    house.gate()
    house.forge(key, "ann")
    assert isinstance(house.gate().look(), Passage)


@pytest.mark.parametrize("name", ["ANN@x.example", "a.nn@x.example", "ann+2@x.example", "ann@x.example."])
def test_second_spelling_of_an_approvers_name_is_not_added(
    house: GateHouse, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    house.person("ann")
    signing.make_key(house.home / "people" / "second", "second")
    before = (layout.params() / "allowed_signers").read_text()
    assert run_cli(["keys", "add", name, str(house.home / "people" / "second.pub"), "--target", "billing"]) == 2
    assert "reads like 'ann@x.example'" in capsys.readouterr().err
    assert (layout.params() / "allowed_signers").read_text() == before


def test_line_of_an_approver_put_in_by_hand_counts_for_nothing(
    house: GateHouse, capsys: pytest.CaptureFixture[str]
) -> None:
    key = house.person("eve", introduced=False)
    house.gate()
    with pytest.raises(OperatorError, match="nothing introduces the key"):
        house.approve(key)
    house.forge(key, "eve")
    assert "nothing introduces the key" in why_shut(house)
    assert run_cli(["keys", "check", "--target", "billing"]) == 4
    assert "runbook keys add eve@x.example --target billing" in capsys.readouterr().out
    assert run_cli(["keys", "add", "eve@x.example", "--target", "billing"]) == 0
    assert isinstance(house.gate().look(), Passage)


def test_key_that_has_ended_and_was_stretched_by_hand_counts_for_nothing(house: GateHouse) -> None:
    """The line of somebody who has left ended yesterday; its end is moved to next year."""
    now = clock.now()
    key = house.person("ann", valid_to=now - timedelta(days=1))
    path = layout.params() / "allowed_signers"
    before = path.read_text()
    house.gate()
    for after in (
        re.sub(r'valid-before="\d+', f'valid-before="{now.year + 1}0101000000', before),
        re.sub(r',valid-before="\w+"', "", before),
    ):
        path.write_text(after)
        with pytest.raises(OperatorError, match="nothing introduces the key"):
            house.approve(key)
    path.write_text(re.sub(r'valid-before="\d+', f'valid-before="{now.year + 1}0101000000', before))
    assert run_cli(["keys", "add", "ann@x.example", "--target", "billing"]) == 0, "it is recorded"
    house.approve(key)
    assert isinstance(house.gate().look(), Passage)


def test_claim_is_a_limitation_where_a_gate_has_passed(house: GateHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    key = house.person("ann")
    house.gate()
    house.approve(key)
    monkeypatch.setenv("SUDO_USER", "other")
    assert isinstance(house.gate().look(), Passage)
    assert any("SUDO_USER=other" in text for text in house.state.limits)


@pytest.mark.parametrize(
    "attack",
    [
        lambda folder: (folder / "person-000001.txt.sig").unlink(),
        lambda folder: (folder / "person-000001.txt").write_text(
            (folder / "person-000001.txt").read_text().replace("by the tests", "by the Tests")
        ),
    ],
)
def test_approver_whose_introduction_was_tampered_with_counts_for_nothing(
    house: GateHouse, attack: Callable[[Path], object]
) -> None:
    key = house.person("ann")
    house.gate()
    house.approve(key)
    assert isinstance(house.gate().look(), Passage)
    attack(layout.reports() / "keys")
    assert "nothing introduces the key" in why_shut(house)
