"""Whose keys count: only those that the runner has introduced or the reader was given, in one form; ssh-keygen accepts more, and is not asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from archivehouse import FILES, House, a_record, copy_home, edit, fill, make_key, open_run, overwrite, resign, resum
from homes import at_home
from runbook import clock
from runbook.archive.keys import REVIEW
from runbook.archive.records import commit_record
from runbook.archive.review import Review
from runbook.archive.rotation import rotate
from runbook.archive.statements import file_statement
from runbook.cli.main import run_cli
from runbook.controls.evidence import read_evidence
from runbook.gates import signing
from runbook.model import Verdict

COUNT = 3


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three signed records and Ann, who may review. Leave it as it is."""
    home = tmp_path_factory.mktemp("filled") / "home"
    home.mkdir()
    fill(home, 1, COUNT - 1)
    with at_home(home):
        assert run_cli(["keys", "add", "ann@example.org", f"{make_key(home / 'ann')}.pub", "--witness"]) == 0
    fill(home, COUNT, COUNT)
    return home


@pytest.fixture
def house(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    home = copy_home(filled, tmp_path / "home")
    monkeypatch.setenv("RUNBOOK_HOME", str(home))
    return House(home)


def public_of(key: Path) -> str:
    return " ".join(key.with_name(f"{key.name}.pub").read_text().split()[:2])


def list_line(house: House, line: str) -> None:
    """Somebody who can write into the archive puts a line in."""
    edit(house.reports / "allowed_signers", lambda text: f"{text}{line}\n")


def list_first(house: House, line: str) -> None:
    edit(house.reports / "allowed_signers", lambda text: f"{line}\n{text}")


def runner_of(house: House) -> str:
    return (house.reports / "allowed_signers").read_text().split()[0]


def forge_newest(house: House, key: Path) -> None:
    """The newest record says something else and is signed by that key."""
    edit(house.record(COUNT) / "run.json", lambda text: text.replace("All checks passed.", "All is well."))
    resum(house.record(COUNT))
    resign(house.record(COUNT), key)


def is_accepted_by_openssh(house: House) -> bool:
    """True when ssh-keygen verifies the newest record by the archive's own allowed_signers."""
    folder = house.record(COUNT)
    argv = ["ssh-keygen", "-Y", "verify", "-f", str(house.reports / "allowed_signers"), "-I", runner_of(house)]
    argv += ["-n", "runbook-evidence", "-s", str(folder / "SHA256SUMS.sig")]
    with (folder / "SHA256SUMS").open() as sums:
        return (
            subprocess.run(
                argv, stdin=sums, capture_output=True, env={"TZ": "UTC", "PATH": os.environ["PATH"]}
            ).returncode
            == 0
        )


def certificate_of(house: House, key: Path) -> str:
    """The key is certified by an authority of the attacker's; returns the authority's public key."""
    authority = make_key(house.home / "authority")
    argv = ["ssh-keygen", "-q", "-s", str(authority), "-I", "x", "-n", runner_of(house), f"{key}.pub"]
    subprocess.run(argv, check=True, capture_output=True)
    return public_of(authority)


#: Lines that ssh-keygen (OpenSSH 9.2) takes for the runner's; {who} is the runner, {key} the attacker's key.
LINES = {
    "no namespaces": "{who} {key}",
    "any namespace": '{who} namespaces="*" {key}',
    "a pattern of namespaces": '{who} namespaces="runbook-*" {key}',
    "a namespace beside another": '{who} namespaces="runbook-evidence,file" {key}',
    "a person's and the runner's purpose": '{who} namespaces="runbook-review,runbook-evidence" {key}',
    "a negated namespace": '{who} namespaces="!file,*" {key}',
    "capital letters": '{who} NAMESPACES="runbook-evidence" {key}',
    "any principal": '* namespaces="runbook-evidence" {key}',
    "a pattern of principals": 'runner@* namespaces="runbook-evidence" {key}',
    "several principals": 'somebody,{who} namespaces="runbook-evidence" {key}',
    "a quoted principal": '"{who}" namespaces="runbook-evidence" {key}',
    "a time first": '{who} valid-after="20200101",namespaces="runbook-evidence" {key}',
    "a tab": '{who}\tnamespaces="runbook-evidence" {key}',
    "two blanks": '{who}  namespaces="runbook-evidence" {key}',
    "a blank first": ' {who} namespaces="runbook-evidence" {key}',
    "a quoted blank": '{who} namespaces="runbook-evidence, x" {key}',
}


@pytest.mark.parametrize("form", LINES)
def test_line_in_another_form_lets_no_forged_record_pass(house: House, form: str) -> None:
    (true,) = house.verify().keys
    key = make_key(house.home / "mine")
    list_line(house, LINES[form].format(who=runner_of(house), key=public_of(key)))
    forge_newest(house, key)
    assert is_accepted_by_openssh(house), "else it is no attack"
    assert "signers-line" in house.kinds()
    assert "signers-line" in house.kinds(handed_over=[true]), "the true key's fingerprint vouches for no other"
    assert house.record(COUNT).name not in [one.name for one in house.verify(handed_over=[true]).signed]
    assert [one.number for one in read_evidence() if one.doubt is None] == [1, 2]
    done = house.stock()
    assert (done.returncode, "BAD" in done.stdout) == (1, True)


def test_certificate_lets_no_forged_record_pass(house: House) -> None:
    key = make_key(house.home / "mine")
    authority = certificate_of(house, key)
    list_line(house, f'{runner_of(house)} cert-authority,namespaces="runbook-evidence" {authority}')
    forge_newest(house, key.with_name("mine-cert.pub"))
    assert is_accepted_by_openssh(house), "else it is no attack"
    assert {"signers-line", "key-unknown"} <= house.kinds()
    assert [one.number for one in read_evidence() if one.doubt is None] == [1, 2]
    assert house.stock().returncode == 1


@pytest.mark.parametrize("put", [list_first, list_line])
def test_second_key_of_the_runner_counts_for_nothing_wherever_it_stands(
    house: House, put: Callable[[House, str], None]
) -> None:
    (true,) = house.verify().keys
    key = make_key(house.home / "mine")
    put(house, f'{runner_of(house)} namespaces="runbook-evidence",valid-before="20991231" {public_of(key)}')
    forge_newest(house, key)
    assert house.kinds() & {"key-not-introduced", "key-unknown"}
    assert house.kinds(handed_over=[true]) & {"key-not-introduced", "key-unknown"}
    assert house.stock().returncode == 1


def introduce_oneself(house: House, key: Path, *, signed_by: Path, number: int, before: str, to: str) -> None:
    moment = re.search(r'valid-after="(\d+)"', (house.reports / "allowed_signers").read_text())
    assert moment is not None
    text = f"runbook key {number}\ntime {moment[1]}\nfrom {before}\nto {to}\nreason yearly\n"
    path = house.reports / "keys" / f"{number:06d}.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", "runbook-evidence", "-f", str(signed_by), str(path)]
    subprocess.run(argv, check=True, capture_output=True)


def test_attackers_key_put_before_the_runners_with_an_introduction_of_its_own_forges_nothing(house: House) -> None:
    """The attacker's key is listed first and "introduces" the true one; it signs the first record again, and a forged newest one."""
    (true,) = house.verify().keys
    key = make_key(house.home / "mine")
    mine = signing.fingerprint_of(key)
    list_first(house, f'{runner_of(house)} namespaces="runbook-evidence" {public_of(key)}')
    introduce_oneself(house, key, signed_by=key, number=2, before=mine, to=true)
    resign(house.record(1), key)
    forge_newest(house, key)
    assert "key-not-introduced" in house.kinds()
    assert house.stock().returncode == 1


def test_key_that_introduces_itself_is_refused(house: House) -> None:
    (true,) = house.verify().keys
    key = make_key(house.home / "mine")
    list_line(house, f'{runner_of(house)} namespaces="runbook-evidence" {public_of(key)}')
    introduce_oneself(house, key, signed_by=key, number=2, before=true, to=signing.fingerprint_of(key))
    forge_newest(house, key)
    assert "key-not-introduced" in house.kinds()
    assert house.stock().returncode == 1


def test_rotation_that_allowed_signers_stretches_is_refused(house: House) -> None:
    time.sleep(1.05)
    stolen = shutil.copy2(house.key, house.home / "stolen")
    rotate("stolen")
    fill(house.home, COUNT + 1, COUNT + 1)
    assert house.kinds() == set()
    edit(house.reports / "allowed_signers", lambda text: re.sub(r'valid-before="\d+"', 'valid-before="20991231"', text))
    edit(house.record(COUNT + 1) / "run.json", lambda text: text.replace("All checks passed.", "All is well."))
    resum(house.record(COUNT + 1))
    resign(house.record(COUNT + 1), Path(stolen))
    assert "key-not-introduced" in house.kinds()
    assert house.stock().returncode == 1


def test_tombstone_signed_with_a_key_that_was_put_in_is_refused(house: House) -> None:
    key = make_key(house.home / "mine")
    list_line(house, f"{runner_of(house)} {public_of(key)}")
    folder = house.record(1)
    from runbook.archive.sums import sha256
    from runbook.archive.tombstone import Tombstone

    stone = Tombstone(
        at=clock.now().replace(microsecond=0), signer=runner_of(house), asked_by="x", rule="x",
        kept_until=clock.now() - timedelta(days=1), deleted=frozenset({"report.html"}),
        sums=sha256((folder / "SHA256SUMS").read_bytes()),
    )  # fmt: skip
    (folder / "report.html").unlink()
    (folder / "TOMBSTONE").write_bytes(stone.content())
    (folder / "TOMBSTONE.sig").write_text(signing.sign(stone.content(), key, "runbook-evidence"))
    assert {"tombstone", "signers-line"} <= house.kinds()
    assert house.stock().returncode == 1


def review_by(house: House, key: Path, name: str, **changes: object) -> Path:
    """A review of the first record, signed past the command."""
    looked = house.verify().looked[0]
    made = Review(
        record=looked.name, record_sums=looked.sums_sha256, verdict=Verdict.PASS, accepted=True, reviewer=name,
        key=signing.fingerprint_of(key), at=clock.now(),
    ).model_copy(update=changes)  # fmt: skip
    return file_statement(house.reports / "reviews", "000001", made, key, REVIEW)


PERSON = 'namespaces="runbook-witness,runbook-review,runbook-exception"'


def test_line_of_a_person_put_in_by_hand_counts_for_nothing_and_is_reported(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    key = make_key(house.home / "eve")
    list_line(house, f"eve@example.org {PERSON} {public_of(key)}")
    assert house.kinds() == {"person-not-introduced"}, "also before it has signed anything"
    assert house.stock().returncode == 1
    # as VERIFY.md says: the archive's own file by its name is none that was got elsewhere
    own = subprocess.run(["sh", "verify.sh", "allowed_signers"], cwd=house.reports, capture_output=True, text=True)
    assert "nothing introduces eve@example.org" in own.stdout
    assert run_cli(["archive", "review", "1", "--key", str(key), "--accept"]) == 2
    assert "nothing introduces the key" in capsys.readouterr().err
    assert run_cli(["archive", "witness", "--key", str(key)]) == 2
    review_by(house, key, "eve@example.org")
    assert house.kinds() == {"person-not-introduced", "review"}
    assert [one.certified_by for one in read_evidence()] == [None] * COUNT
    done = house.stock()
    assert (done.returncode, "nothing introduces eve@example.org" in done.stdout) == (1, True)


def test_key_put_in_under_an_introduced_name_counts_for_nothing(house: House) -> None:
    key = make_key(house.home / "eve")
    list_line(house, f"ann@example.org {PERSON} {public_of(key)}")
    review_by(house, key, "ann@example.org")
    assert house.kinds() == {"person-not-introduced", "review"}
    assert house.stock().returncode == 1


def test_introduced_key_under_another_name_counts_for_nothing(house: House) -> None:
    edit(house.reports / "allowed_signers", lambda text: text.replace("ann@example.org", "bob@example.org"))
    review_by(house, house.home / "ann", "bob@example.org")
    assert house.kinds() == {"person-not-introduced", "review"}
    assert house.stock().returncode == 1


def test_runners_key_listed_as_a_persons_counts_for_nothing(house: House) -> None:
    list_line(house, f"eve@example.org {PERSON} {public_of(house.key)}")
    review_by(house, house.key, "eve@example.org")
    assert "review" in house.kinds() and "signers-line" in house.kinds()


def test_line_from_before_people_were_introduced_is_introduced_by_its_name_alone(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    """An archive from before: the line and the review are honest, and nothing proves it until the line is introduced."""
    key = make_key(house.home / "olga")
    list_line(house, f"olga@example.org {PERSON} {public_of(key)}")
    review_by(house, key, "olga@example.org")
    (told,) = [one for one in house.verify().problems if one.kind == "person-not-introduced"]
    assert "runbook keys add olga@example.org --witness" in told.text
    assert "person-not-introduced" in house.kinds(handed_over=[*house.verify().keys, signing.fingerprint_of(key)])
    time.sleep(1.05)
    assert run_cli(["keys", "add", "olga@example.org", "--witness"]) == 0
    assert house.kinds() == set()
    assert house.stock().returncode == 0
    assert "line listed\n" in (house.reports / "keys" / "person-000002.txt").read_text()
    assert run_cli(["keys", "add", "olga@example.org", "--witness"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_statement_dated_before_its_signer_was_introduced_is_refused(house: House) -> None:
    review_by(house, house.home / "ann", "ann@example.org", at=clock.now() - timedelta(days=400))
    (told,) = house.verify().problems
    assert (told.kind, "it is dated back" in told.text) == ("review", True)


def person_file(house: House) -> Path:
    return house.reports / "keys" / "person-000001.txt"


def add_bob(house: House) -> Path:
    key = make_key(house.home / "bob")
    assert run_cli(["keys", "add", "bob@example.org", f"{key}.pub", "--witness"]) == 0
    return key


@pytest.mark.parametrize(
    ("attack", "kinds"),
    [
        (lambda h: edit(person_file(h), lambda t: t.replace("ann@", "eve@")), {"introduction", "people", "person-not-introduced"}),
        (lambda h: person_file(h).with_name("person-000001.txt.sig").unlink(), {"introduction", "person-not-introduced"}),
        (lambda h: person_file(h).unlink(), {"people", "person-not-introduced"}),
        (
            lambda h: overwrite(person_file(h).with_name("person-000001.txt.sig"), (h.record(1) / "SHA256SUMS.sig").read_bytes()),
            {"introduction", "person-not-introduced"},
        ),
        (lambda h: person_file(h).rename(person_file(h).with_name("person-000002.txt")), {"introduction", "person-not-introduced"}),
    ],
    ids=["rewritten", "signature removed", "removed", "another signature", "renamed"],
)  # fmt: skip
def test_introduction_that_was_tampered_with_introduces_nobody(
    house: House, attack: Callable[[House], object], kinds: set[str]
) -> None:
    attack(house)
    assert kinds <= house.kinds()
    assert house.stock().returncode == 1


def test_introduction_removed_with_its_line_is_missed_by_the_record_that_counts_it(house: House) -> None:
    person_file(house).unlink()
    edit(house.reports / "allowed_signers", lambda text: text.splitlines(True)[0])
    assert house.kinds() == {"people"}
    assert "some were removed or rewritten" in house.stock().stdout


def test_introduction_signed_later_with_a_stolen_key_that_has_ended_is_refused(house: House) -> None:
    stolen = Path(shutil.copy2(house.key, house.home / "stolen"))
    time.sleep(1.05)
    rotate("stolen")
    fill(house.home, COUNT + 1, COUNT + 1)
    eve = make_key(house.home / "eve")
    began = re.search(r'valid-after="(\d+)"', (house.reports / "allowed_signers").read_text())
    assert began is not None
    text = person_file(house).read_text()
    text = (
        text.replace("person 1", "person 2")
        .replace("ann@", "eve@")
        .replace(public_of(house.home / "ann"), public_of(eve))
    )
    path = person_file(house).with_name("person-000002.txt")
    path.write_text(re.sub(r"time \d+", f"time {began[1]}", text))
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", "runbook-evidence", "-f", str(stolen), str(path)]
    subprocess.run(argv, check=True, capture_output=True)
    list_line(house, f"eve@example.org {PERSON} {public_of(eve)}")
    assert house.kinds() == {"people"}
    (told,) = house.verify().problems
    assert "it was dated back" in told.text
    done = house.stock()
    assert (done.returncode, "was dated back" in done.stdout) == (1, True)


def test_introduction_of_another_archive_is_refused(house: House, tmp_path: Path) -> None:
    """Two homes sign with one key, as params/controls.yaml may say: what one introduces, the other does not know."""
    other = tmp_path / "other"
    shutil.copytree(house.home / "var", other / "var")
    fill(other, 1, 1)
    with at_home(other):
        eve = make_key(other / "eve")
        assert run_cli(["keys", "add", "eve@example.org", f"{eve}.pub", "--witness"]) == 0
    assert House(other).kinds() == set()
    for name in ("person-000001.txt", "person-000001.txt.sig"):
        shutil.copy2(other / "reports" / "keys" / name, person_file(house).with_name(name.replace("1.", "2.")))
    list_line(house, f"eve@example.org {PERSON} {public_of(eve)}")
    assert {"introduction", "person-not-introduced"} == house.kinds()
    assert "introduces nobody" in house.stock().stdout


def test_people_are_introduced_before_the_first_record_and_after_a_rotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("RUNBOOK_HOME", str(home))
    house = House(home)
    assert run_cli(["keys", "add", "ann@example.org", f"{make_key(home / 'ann')}.pub", "--witness"]) == 0
    fill(home, 1, 1)
    assert house.kinds() == set()
    time.sleep(1.05)
    rotate("yearly")
    add_bob(house)
    fill(home, 2, 2)
    assert house.kinds() == set()
    done = house.stock()
    assert (done.returncode, done.stderr) == (0, "")
    assert "people 2 " in (house.record(2) / "archived.txt").read_text()


def test_exported_archive_proves_its_people_alone(house: House, tmp_path: Path) -> None:
    from runbook.archive.export import choose_records, export
    from runbook.archive.verify import verify_archive

    assert run_cli(["archive", "review", "1", "--key", str(house.home / "ann"), "--accept"]) == 0
    begin = clock.now().replace(year=2020)
    place = export(choose_records("backup-verification", begin, clock.now().replace(year=2099)), tmp_path / "out")
    assert verify_archive(place).problems == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ANN@Example.org", "reads like 'ann@example.org'"),
        ("ann@example.org.", "reads like"),
        ("a.nn@example.org", "reads like"),
    ],
)
def test_second_spelling_of_a_name_is_not_added(
    house: House, name: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    key = make_key(house.home / "second")
    assert run_cli(["keys", "add", name, f"{key}.pub", "--witness"]) == 2
    assert says in capsys.readouterr().err


def test_record_whose_gate_an_unintroduced_person_has_passed_is_reported(house: House) -> None:
    key = make_key(house.home / "eve")
    gate = {"id": "swap", "approvals": [{"principal": "eve@example.org", "key": signing.fingerprint_of(key)}]}
    open_run(house.home, COUNT + 1)
    commit_record(FILES, a_record(COUNT + 1, gates=(gate,)))
    assert "approver-not-introduced" in house.kinds()


@pytest.mark.parametrize(
    "make",
    [lambda path: os.mkfifo(path), lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()],
    ids=["a pipe", "a link without an end", "a folder"],
)
def test_introduction_that_never_ends_stops_neither_verification_nor_archiving(
    house: House, make: Callable[[Path], object]
) -> None:
    make(person_file(house).with_name("person-000002.txt"))
    assert house.kinds() == {"introduction"}
    fill(house.home, COUNT + 1, COUNT + 1)
    assert "people 1 " in (house.record(COUNT + 1) / "archived.txt").read_text()
    path = person_file(house).with_name("person-000002.txt")
    path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    assert house.kinds() == set(), "what counts for nothing was bound into nothing"


def test_planted_introduction_is_not_bound_and_nobody_is_introduced_after_it(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    path = person_file(house).with_name("person-000002.txt")
    path.write_text(person_file(house).read_text().replace("person 1", "person 2").replace("ann@", "eve@"))
    fill(house.home, COUNT + 1, COUNT + 1)
    assert "people 1 " in (house.record(COUNT + 1) / "archived.txt").read_text()
    key = make_key(house.home / "bob")
    assert run_cli(["keys", "add", "bob@example.org", f"{key}.pub", "--witness"]) == 2
    assert "holds an introduction that does not count" in capsys.readouterr().err
    path.unlink()
    assert house.kinds() == set()


def test_keys_behind_a_link_are_reported(house: House) -> None:
    folder = person_file(house).parent
    folder.rename(house.home / "elsewhere")
    folder.symlink_to(house.home / "elsewhere")
    assert "link" in house.kinds()
    assert house.stock().returncode == 1


def test_reviewers_fingerprint_handed_over_makes_no_key_of_the_runner_of_it(house: House) -> None:
    """Ann may review. She lists her key as the runner's too, and signs a forged record; a reader believes her fingerprint, as a reviewer's."""
    (true,) = house.verify().keys
    key = house.home / "ann"
    forge_newest(house, key)
    edit(
        house.reports / "allowed_signers",
        lambda text: text.replace(PERSON, 'namespaces="runbook-evidence"').replace("ann@example.org", runner_of(house)),
    )
    assert "key-not-introduced" in house.kinds(handed_over=[true])
    assert "key-not-introduced" in house.kinds()


def test_signature_over_an_introduction_is_none_over_a_record(house: House) -> None:
    """Introductions, rotations, exports and records are signed for one purpose; none is of the form of another."""
    folder = house.record(COUNT)
    overwrite(folder / "SHA256SUMS", person_file(house).read_bytes())
    overwrite(folder / "SHA256SUMS.sig", person_file(house).with_name("person-000001.txt.sig").read_bytes())
    assert {"sums-unreadable"} <= house.kinds()
    assert house.stock().returncode == 1


def test_review_signed_for_another_purpose_counts_for_nothing(house: House) -> None:
    path = review_by(house, house.home / "ann", "ann@example.org")
    assert house.kinds() == set()
    path.with_name(path.name + ".sig").write_text(
        signing.sign(path.read_bytes(), house.home / "ann", "runbook-witness")
    )
    assert house.kinds() == {"review"}


def test_name_of_one_person_with_the_key_of_another_signs_nothing(house: House) -> None:
    """Bob signs a review that says that Ann has written it; both are introduced."""
    bob = add_bob(house)
    review_by(house, bob, "ann@example.org")
    assert house.kinds() == {"review"}


def test_line_that_ends_as_windows_writes_it_is_reported_and_not_taken_for_another(house: House) -> None:
    edit(house.reports / "allowed_signers", lambda text: text.replace("\n", "\r\n"))
    assert "signers-line" in house.kinds()
    assert house.stock().returncode == 1
