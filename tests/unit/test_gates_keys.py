"""Plans, signatures and `runbook keys`: what is signed, and whose keys count."""

from __future__ import annotations

import hashlib
import stat
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from gatehouse import GateHouse
from pydantic import ValidationError
from runbook import clock, layout
from runbook.cli.main import run_cli
from runbook.errors import OperatorError, ParamsError
from runbook.gates import Action, Plan, signers, signing
from runbook.gates.plan import read_plan
from runbook.params import load_params, parse_params
from runbook.session.gate import Passage


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateHouse:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "home"))
    return GateHouse.build(tmp_path / "home")


def plan(**changes: object) -> Plan:
    fields = {
        "title": "Swap",
        "target": "billing",
        "actions": ["Stop the server", Action(what="Move the data aside", undo="Move it back")],
        "blast_radius": "all sessions end",
        "reversible": False,
        "undo": "There is none: the disk is full.",
        "facts": {"lsn": "0/3000028", "rows": 3},
    }
    return Plan.model_validate({**fields, **changes})


def test_hash_is_the_sha256sum_of_the_plans_file() -> None:
    data = plan().canonical()
    assert plan().sha256 == hashlib.sha256(data).hexdigest()
    assert read_plan(data, "plan.json") == plan()


@pytest.mark.parametrize(
    "change",
    [
        {"title": "Swap it"},
        {"actions": ["Stop the server"]},
        {"actions": [Action(what="Move the data aside", undo="Move it back"), "Stop the server"]},
        {"blast_radius": ["all sessions end", "the standby is lost"]},
        {"reversible": True},
        {"undo": "Move it back."},
        {"facts": {"lsn": "0/3000029", "rows": 3}},
    ],
)
def test_any_other_plan_has_another_hash(change: dict[str, object]) -> None:
    assert plan(**change).sha256 != plan().sha256


def test_order_of_facts_is_no_other_plan() -> None:
    assert plan(facts={"rows": 3, "lsn": "0/3000028"}).sha256 == plan().sha256


@pytest.mark.parametrize("change", [{"actions": []}, {"blast_radius": []}, {"undo": ""}, {"note": "x"}])
def test_plan_that_hides_something_is_no_plan(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        plan(**change)


def test_plan_for_people_says_all_of_it() -> None:
    text = plan().markdown()
    for part in (
        "Stop the server",
        "undo: Move it back",
        "all sessions end",
        "Not reversible",
        "0/3000028",
        plan().sha256,
    ):
        assert part in text


def test_damaged_plan_is_refused() -> None:
    with pytest.raises(ParamsError, match="is no plan"):
        read_plan(b"{}", "plan.json")


def test_signature_is_one_that_stock_ssh_keygen_verifies_and_only_for_these_bytes(tmp_path: Path) -> None:
    key = tmp_path / "ann"
    signing.make_key(key, "ann")
    text = signing.sign(b"plan\n", key, "runbook-approval")
    seen = signing.read_signature(text)
    assert seen == signing.Signature("runbook-approval", signing.fingerprint_of(key.with_name("ann.pub")))
    file = tmp_path / "x.sig"
    file.write_text(text)
    assert signing.is_over(b"plan\n", "runbook-approval", file)
    assert not signing.is_over(b"plan \n", "runbook-approval", file)
    assert not signing.is_over(b"plan\n", "file", file)


def test_key_with_a_passphrase_is_refused_without_a_terminal_and_nobody_hangs(tmp_path: Path) -> None:
    from runbook.outside.commands import run

    key = tmp_path / "ann"
    run([signing.program(), "-q", "-t", "ed25519", "-N", "a long passphrase", "-f", str(key)], timeout=30)
    with pytest.raises(OperatorError, match="could not sign"):
        signing.sign(b"plan\n", key, "runbook-approval")


def test_key_with_a_passphrase_asks_at_the_terminal(tmp_path: Path) -> None:
    import pexpect
    from runbook.outside.commands import run

    key = tmp_path / "ann"
    run([signing.program(), "-q", "-t", "ed25519", "-N", "a long passphrase", "-f", str(key)], timeout=30)
    code = f"from pathlib import Path; from runbook.gates import signing; print(signing.sign(b'x', Path({str(key)!r}), 'n'))"
    child = pexpect.spawn(sys.executable, ["-c", code], timeout=60)
    child.expect("Enter passphrase")
    child.sendline("a long passphrase")
    child.expect("END SSH SIGNATURE")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_public_key_signs_when_the_agent_holds_the_private_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, socket = tmp_path / "ann", tmp_path / "agent"
    signing.make_key(key, "ann")
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        while not socket.exists():
            assert agent.poll() is None
            time.sleep(0.01)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run(["ssh-add", "-q", str(key)], check=True)
        key.unlink()
        seen = signing.read_signature(signing.sign(b"x", key.with_name("ann.pub"), "n"))
    finally:
        agent.terminate()
        agent.wait()
    assert seen == signing.Signature("n", signing.fingerprint_of(key.with_name("ann.pub")))


def test_decision_is_signed_on_another_machine_with_stock_tools(
    house: GateHouse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, file = house.person("ann"), tmp_path / "decision.json"
    house.gate()
    approve = ["approve", house.folder.name, "swap-it-in"]
    assert run_cli([*approve, "--prepare", str(file)]) == 2, "nobody is named"
    assert run_cli([*approve, "--prepare", str(file), "--as", "bob@x.example"]) == 2, "he has no key"
    assert run_cli([*approve, "--prepare", str(file), "--as", "ann@x.example", "--comment", "by mail"]) == 0
    assert signing.fingerprint_of(key) in capsys.readouterr().out
    assert run_cli([*approve, "--signed", str(file)]) == 2, "it is not signed"
    stock = ["ssh-keygen", "-q", "-Y", "sign", "-n", "runbook-approval", "-f", str(key), str(file)]
    subprocess.run(stock, check=True, stdin=subprocess.DEVNULL)
    data = file.read_bytes()
    file.write_bytes(data.replace(b"by mail", b"by Mail"))
    assert run_cli([*approve, "--signed", str(file)]) == 2
    assert "altered after it was signed" in capsys.readouterr().err
    assert house.files.decisions() == []
    file.write_bytes(data)
    assert run_cli([*approve, "--signed", str(file)]) == 0
    assert isinstance(house.gate().look(), Passage)


def test_practice_keys_are_private_made_once_and_never_of_this_checkout(house: GateHouse) -> None:
    first = signers.make_practice_keys()
    before = [key.read_bytes() for key in first]
    assert [stat.S_IMODE(key.stat().st_mode) for key in first] == [0o600, 0o600]
    assert stat.S_IMODE(layout.keys().stat().st_mode) == 0o700
    assert [key.read_bytes() for key in signers.make_practice_keys()] == before
    listed = signers.read_signers(signers.practice_signers())
    assert [one.principal for one in listed] == list(signers.PRACTICE)
    first[1].with_name(first[1].name + ".pub").unlink()
    signers.make_practice_keys()
    assert len(signers.read_signers(signers.practice_signers())) == 3, "the half pair was made anew"


def test_keys_are_added_listed_and_shown(house: GateHouse, capsys: pytest.CaptureFixture[str]) -> None:
    key = house.home / "people" / "ann"
    signing.make_key(key, "ann's laptop")
    public = str(key.with_name("ann.pub"))
    options = ["--target", "billing"]
    period = ["--valid-from", "2026-01-01T00:00:00Z", "--valid-to", "2036-01-01T00:00:00+02:00"]
    assert run_cli(["keys", "add", "ann@x.example", public, *options, *period]) == 0
    line = (layout.params() / "allowed_signers").read_text()
    assert 'valid-after="20260101000000Z",valid-before="20351231220000Z"' in line
    assert run_cli(["keys", "list", *options]) == 0
    assert run_cli(["keys", "show", "ann@x.example", *options]) == 0
    said = capsys.readouterr().out
    assert said.count(signing.fingerprint_of(key)) == 3 and "2035-12-31 22:00:00Z" in said
    house.gate()
    house.approve(key)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["ann@x.example", "people/ann"], "private key"),
        (["ann@x.example", "nowhere.pub"], "cannot be read"),
        (["ann@x.example", "params/billing.yaml"], "one line"),
        (["*@x.example", "people/ann.pub"], "no name for a person"),
        (["bob@x.example", "people/bob.pub"], "is there already"),
        (["ann@x.example", "people/ann.pub", "--valid-from", "2026-01-02T00:00:00"], "no time zone"),
        (
            ["ann@x.example", "people/ann.pub", "--valid-from", "2026-01-02Z", "--valid-to", "2026-01-01Z"],
            "is not a time",
        ),
        (
            ["ann@x.example", "people/ann.pub", "--valid-from", "2026-01-02T00Z", "--valid-to", "2026-01-01T00Z"],
            "ends before it begins",
        ),
    ],
)
def test_wrong_key_is_not_added(
    house: GateHouse,
    argv: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    signing.make_key(house.home / "people" / "ann", "ann")
    house.person("bob")
    monkeypatch.chdir(house.home)
    before = (layout.params() / "allowed_signers").read_text()
    assert run_cli(["keys", "add", *argv, "--target", "billing"]) == 2
    assert says in capsys.readouterr().err
    assert (layout.params() / "allowed_signers").read_text() == before


def ill(target: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = run_cli(["keys", "check", "--target", target])
    return code, capsys.readouterr().out


def test_check_says_that_nobody_can_approve_and_what_to_do(
    house: GateHouse, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = ill("billing", capsys)
    assert code == 4 and "nobody can approve" in said and "runbook keys add" in said.splitlines()[-1]
    house.person("olga")
    code, said = ill("billing", capsys)
    assert code == 4 and "0 of 1 needed people" in said, "the operator does not count"
    house.person("ann")
    assert ill("billing", capsys)[0] == 0


def test_check_names_every_line_that_does_not_count(house: GateHouse, capsys: pytest.CaptureFixture[str]) -> None:
    now = clock.now()
    house.person("ann", valid_to=now + timedelta(days=3))
    bob = house.person("bob")
    house.list_key(bob, "carl@x.example")
    house.list_key(signers.make_practice_keys()[0], "dora@x.example")
    path = layout.params() / "allowed_signers"
    path.write_text(path.read_text() + "*@x.example ssh-ed25519 nokey\n")
    path.chmod(0o666)
    code, said = ill("billing", capsys)
    assert code == 4
    for part in ("written by others", "ends at", "stands twice", "a practice key", "no public key"):
        assert part in said, said


def test_check_compares_with_the_approvers_of_the_params(house: GateHouse, capsys: pytest.CaptureFixture[str]) -> None:
    path = house.home / "params" / "billing.yaml"
    path.write_text(path.read_text() + "  approvers: [ann@x.example, bob@x.example]\n")
    house.person("ann")
    code, said = ill("billing", capsys)
    assert code == 4 and "bob@x.example is an approver by params, but has no key" in said


def test_sandbox_needs_no_setting_up(house: GateHouse, capsys: pytest.CaptureFixture[str]) -> None:
    text = (house.home / "params" / "billing.yaml").read_text().replace("billing", "sandbox", 1)
    (house.home / "params" / "sandbox.yaml").write_text(text.replace("staging", "sandbox"))
    assert ill("sandbox", capsys)[0] == 0
    assert run_cli(["keys", "make-practice"]) == 0
    assert "var/keys/practice-one" in capsys.readouterr().out


def test_allowed_signers_may_be_named_in_the_params(house: GateHouse) -> None:
    text = (house.home / "params" / "billing.yaml").read_text()
    named = parse_params(text + "  allowed_signers: /etc/runbook/people\n  valid_for: 30 min\n", "x")
    assert signers.signers_path(named) == Path("/etc/runbook/people")
    assert named.approvals.valid_for == 1800
    assert signers.signers_path(load_params("billing")) == layout.params() / "allowed_signers"
