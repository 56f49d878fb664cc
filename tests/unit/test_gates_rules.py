"""Each way in which an approval does not count, with real OpenSSH signatures: the gate stays shut, and says why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from gatehouse import GateHouse
from runbook import clock, layout
from runbook.errors import OperatorError
from runbook.gates import signers, signing
from runbook.gates.decision import Kind
from runbook.session import identity, opengate
from runbook.session.gate import Passage, Stop


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateHouse:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "home"))
    return GateHouse.build(tmp_path / "home")


def why_shut(house: GateHouse, **gate: Any) -> str:
    found = house.gate(**gate).look()
    assert isinstance(found, Stop), found
    return found.reason


def test_approval_of_exactly_this_plan_by_somebody_else_opens_the_gate(house: GateHouse) -> None:
    key = house.person("ann")
    assert "waits for 1 approval." in why_shut(house)
    file = house.approve(key, comment="checked the LSN")
    found = house.gate().look()
    assert found == Passage("swap-it-in", house.plan().sha256, "passed", ("ann@x.example",))
    (gate,) = house.state.gates
    (said,) = gate["approvals"]
    assert (said["principal"], said["comment"], said["file"]) == ("ann@x.example", "checked the LSN", file.name)
    assert found.signed_at == clock.parse(said["at"]), "when it was signed, whenever the run goes on"
    assert said["key"] == signing.fingerprint_of(key)
    stock = house.files.path / "allowed_signers"
    assert signing.verify(file.read_bytes(), stock, "ann@x.example", "runbook-approval",
                          file.with_name(file.name + ".sig"), clock.now()) is None  # fmt: skip


def test_changed_plan_voids_the_approval_and_says_so(house: GateHouse) -> None:
    key = house.person("ann")
    house.gate()
    house.approve(key)
    said = why_shut(house, lsn="0/4000028")
    assert "about another plan" in said and "the plan has changed since" in said
    assert house.state.gates[0]["replaces_plan"] == house.plan().sha256
    assert (house.files.path / f"plan-{house.plan().sha256[:12]}.json").is_file()


def tampered(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b'"comment": ""', b'"comment": "x"'))


def damaged(file: Path) -> None:
    file.write_bytes(b"{")


def unsigned(file: Path) -> None:
    file.with_name(file.name + ".sig").unlink()


def garbled(file: Path) -> None:
    file.with_name(file.name + ".sig").write_text("-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (tampered, "altered after it was signed"),
        (damaged, "damaged"),
        (unsigned, "no signature"),
        (garbled, "its signature is damaged"),
    ],
)
def test_spoilt_approval_file_does_not_count(house: GateHouse, spoil: Callable[[Path], None], says: str) -> None:
    key = house.person("ann")
    house.gate()
    spoil(house.approve(key))
    assert says in why_shut(house)


def hours(count: float) -> dict[str, Any]:
    now = clock.now()
    return {"at": now + timedelta(hours=count), "expires": now + timedelta(hours=count + 4)}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (hours(-5), "expired at"),
        ({"expires": clock.now() - timedelta(seconds=1)}, "expired at"),
        ({**hours(-5), "expires": clock.now() + timedelta(days=300)}, "expired at"),
        (hours(1), "clocks disagree"),
        ({"run": "20260101T000000Z-swap-0000"}, "another run"),
        ({"gate": "another"}, "another gate"),
        ({"plan": "0" * 64}, "another plan"),
        ({"changes": 1}, "before a change of code, params or library was accepted"),
        ({"namespace": "file"}, "the namespace 'file'"),
        ({"principal": "bob@x.example"}, "belongs to ann@x.example, not to bob@x.example"),
        ({"key": "SHA256:x"}, "it says that the key SHA256:x signed"),
    ],
)
def test_approval_that_is_not_about_this_does_not_count(house: GateHouse, changes: dict[str, Any], says: str) -> None:
    key = house.person("ann")
    house.gate()
    house.forge(key, "ann", **changes)
    assert says in why_shut(house)


def test_operator_cannot_approve_by_name(house: GateHouse) -> None:
    key = house.person("olga")
    house.gate()
    with pytest.raises(OperatorError, match=r"olga@x\.example is an operator of this run"):
        house.approve(key)
    house.forge(key, "olga")
    assert "nobody approves their own run" in why_shut(house)


def test_operator_cannot_approve_as_the_operating_system_user(house: GateHouse) -> None:
    key = house.person("root", identity.operator())
    house.gate()
    with pytest.raises(OperatorError, match="is an operator of this run"):
        house.approve(key)


def test_operator_cannot_approve_with_the_own_key_under_another_name(house: GateHouse) -> None:
    key = house.person("olga")
    house.list_key(key, "ann@x.example")
    house.gate()
    with pytest.raises(OperatorError, match=r"its key belongs to olga@x\.example, an operator"):
        house.approve(key, principal="ann@x.example")
    house.forge(key, "ann")
    assert "another name does not change that" in why_shut(house)


def test_whoever_resumed_the_run_is_its_operator_from_then_on(
    house: GateHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.params = house.tolerant(operators={"ann": "ann@x.example"}).params
    key = house.person("ann")
    gate = house.gate()
    house.approve(key)
    assert isinstance(gate.look(), Passage)
    monkeypatch.setenv("SUDO_USER", "ann")
    house.start(2)
    assert "ann@x.example is an operator of this run" in why_shut(house)


def test_two_needed_are_two_people_with_two_keys(house: GateHouse) -> None:
    ann, also_ann = house.person("ann"), house.person("ann2", "ann@x.example")
    bob = house.person("bob")
    house.gate(needed=2)
    house.approve(ann)
    with pytest.raises(OperatorError, match="one person counts once"):
        house.approve(also_ann)
    house.forge(also_ann, "ann")
    assert "waits for 1 more approval of 2" in why_shut(house, needed=2)
    house.list_key(ann, "carl@x.example")
    house.forge(ann, "carl")
    assert "waits for 1 more approval of 2" in why_shut(house, needed=2)
    assert "carl@x.example shares a key with ann@x.example: one person counts once" in why_shut(house, needed=2)
    with pytest.raises(OperatorError, match="shares a key with you"):
        house.approve(ann, principal="carl@x.example")
    house.approve(bob)
    found = house.gate(needed=2).look()
    assert isinstance(found, Passage) and len(found.approved_by) == 2


def test_params_may_ask_for_more_people_than_the_notebook(house: GateHouse) -> None:
    house.params = house.tolerant(needed=3).params
    assert "waits for 3 approvals" in why_shut(house, needed=2)


def test_unknown_key_does_not_count(house: GateHouse) -> None:
    house.person("ann")
    stranger = house.home / "people" / "eve"
    signing.make_key(stranger, "eve")
    house.gate()
    with pytest.raises(OperatorError, match="nobody knows whose it is"):
        house.approve(stranger)
    with pytest.raises(OperatorError, match="is not in allowed_signers"):
        house.approve(stranger, principal="ann@x.example")
    house.forge(stranger, "ann")
    assert "is not in allowed_signers" in why_shut(house)


@pytest.mark.parametrize(("begin", "end"), [(-48, -24), (24, 48)])
def test_key_outside_its_validity_does_not_count(house: GateHouse, begin: int, end: int) -> None:
    now = clock.now()
    key = house.person("ann", valid_from=now + timedelta(hours=begin), valid_to=now + timedelta(hours=end))
    house.gate()
    with pytest.raises(OperatorError, match="outside its validity"):
        house.approve(key)
    house.forge(key, "ann")
    assert "outside its validity" in why_shut(house)


def test_key_within_its_validity_counts(house: GateHouse) -> None:
    now = clock.now()
    key = house.person("ann", valid_from=now - timedelta(hours=1), valid_to=now + timedelta(hours=1))
    house.gate()
    house.approve(key)
    assert isinstance(house.gate().look(), Passage)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("*@x.example {key}", "a pattern, not a person"),
        ("ann@x.example,bob@x.example {key}", "several people for one key"),
        ('ann@x.example namespaces="file" {key}', "namespaces do not include"),
        ("ann@x.example cert-authority {key}", "certificate authority"),
        ('ann@x.example valid-before="soon" {key}', "'soon' is no time"),
    ],
)
def test_line_of_allowed_signers_that_names_no_person_does_not_count(house: GateHouse, line: str, says: str) -> None:
    key = house.home / "people" / "ann"
    signing.make_key(key, "ann")
    public = " ".join(key.with_name("ann.pub").read_text().split()[:2])
    (layout.params() / "allowed_signers").write_text(line.format(key=public) + "\n")
    house.gate()
    house.forge(key, "ann", principal="*@x.example" if "*" in line else "ann@x.example")
    assert says in why_shut(house)


def test_only_the_approvers_of_the_params_count(house: GateHouse) -> None:
    ann = house.person("ann")
    house.gate()
    house.forge(ann, "ann")
    house.params = house.tolerant(approvers=("bob@x.example",)).params
    assert "not among the approvers" in why_shut(house)


def test_practice_key_does_not_count_outside_the_sandbox(house: GateHouse) -> None:
    key = signers.make_practice_keys()[0]
    house.list_key(key, "ann@x.example")
    house.gate()
    house.forge(key, "ann")
    assert "a practice key of the sandbox" in why_shut(house)


def test_openssh_has_the_last_word(house: GateHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    key = house.person("ann")
    house.gate()
    house.forge(key, "ann")
    # Read wrongly by us, the file still does not hold the person in OpenSSH's eyes.
    known = tuple(signers.read_signers(layout.params() / "allowed_signers"))
    (layout.params() / "allowed_signers").write_text("# nobody\n")
    monkeypatch.setattr(signers, "read_signers", lambda path: known)
    monkeypatch.setattr(signers, "practice_fingerprints", set)
    assert "OpenSSH does not verify it" in why_shut(house)


def test_altered_plan_is_not_signed(house: GateHouse) -> None:
    key = house.person("ann")
    house.gate()
    path = house.files.path / "plan.json"
    path.write_bytes(path.read_bytes().replace(b"0/3000028", b"0/9000028"))
    with pytest.raises(OperatorError, match="it was altered"):
        house.approve(key)
    path.unlink()
    with pytest.raises(OperatorError, match="is gone"):
        house.approve(key)


def test_rejection_ends_the_waiting_and_its_author_may_think_again(house: GateHouse) -> None:
    ann, bob = house.person("ann"), house.person("bob")
    house.gate()
    house.approve(bob)
    house.approve(ann, Kind.REJECTION, comment="wrong LSN")
    found = house.gate().look()
    assert isinstance(found, Stop) and found.rejected
    assert found.reason == "The gate 'Swap it in' was rejected by ann@x.example: wrong LSN"
    state = house.state
    assert (state.verdict, state.next_command) == ("INCOMPLETE", f"runbook abort {house.folder.name}")
    house.approve(ann)
    house.start(2)
    assert isinstance(house.gate().look(), Passage)


def test_what_was_begun_on_a_plan_may_be_finished_when_the_approval_has_expired(
    house: GateHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    present, key = clock.now, house.person("ann")
    house.gate()
    house.approve(key)
    assert isinstance(house.gate().look(), Passage)
    monkeypatch.setattr(clock, "now", lambda: present() + timedelta(hours=5))
    house.start(2)
    assert "expired at" in why_shut(house), "nothing was begun: the approval is too old to begin"
    house.approve(key)
    assert isinstance(house.gate().look(), Passage)
    house.journal.append("step-intent", name="Swap", key="k")
    monkeypatch.setattr(clock, "now", lambda: present() + timedelta(hours=15))
    house.start(3)
    assert isinstance(house.gate().look(), Passage)
    assert house.state.gates[0]["reused"] is True
    house.start(4)
    assert "another plan" in why_shut(house, lsn="0/4000028"), "but another plan was never approved"


def test_approval_file_that_vanished_after_the_start_shuts_the_gate(house: GateHouse) -> None:
    key = house.person("ann")
    house.gate()
    file = house.approve(key)
    assert isinstance(house.gate().look(), Passage)
    house.journal.append("step-intent", name="Swap", key="k")
    tampered(file)
    house.start(2)
    assert "altered after it was signed" in why_shut(house)


def test_accepted_change_voids_the_approvals(house: GateHouse) -> None:
    key = house.person("ann")
    house.gate()
    house.approve(key)
    house.journal.append("change-accepted", reason="a typo", what=["the library"], now={}, operator="olga")
    house.start(2)
    assert "before a change of code, params or library was accepted" in why_shut(house)
    house.approve(key)
    assert isinstance(house.gate().look(), Passage)


def test_secret_in_comment_or_plan_is_refused(house: GateHouse) -> None:
    key = house.person("ann")
    house.gate()
    with pytest.raises(OperatorError, match="looks like a secret"):
        house.approve(key, comment="password=hunter2hunter2")
    with pytest.raises(OperatorError, match="holds a secret"):
        house.gate(url="postgres://app:hunter2hunter2@db/x")


def test_decision_on_a_gate_that_is_not_there_or_has_passed_is_refused(house: GateHouse) -> None:
    key = house.person("ann")
    with pytest.raises(OperatorError, match="it has come to no gate yet"):
        house.approve(key)
    house.gate()
    with pytest.raises(OperatorError, match="did you mean 'swap-it-in'"):
        opengate.look_at(house.folder, "swap-itin")
    house.approve(key)
    house.gate().look()
    with pytest.raises(OperatorError, match="has passed already"):
        house.approve(house.person("bob"))


def test_key_that_cannot_sign_is_refused_with_the_words_of_openssh(house: GateHouse) -> None:
    key = house.person("ann")
    key.chmod(0o644)
    house.gate()
    with pytest.raises(OperatorError, match="could not sign"):
        house.approve(key)
    with pytest.raises(OperatorError, match="There is no SSH key in"):
        house.approve(house.home / "params" / "billing.yaml")
    assert [one.path.name for one in house.files.decisions()] == []
