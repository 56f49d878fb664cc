"""An archive behind a command: it hangs, dies, loses a file, or delivers half of one."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from own_cluster import write_script
from proof import ask, prove
from runbook.errors import CommandFailed, CommandTimedOut, OperatorError, WalDamaged
from runbook.params.schema import Params
from shop import Shop

pytest_plugins = ("shop_fixtures",)
pytestmark = [pytest.mark.server, pytest.mark.faults]
MARKS = ask("SELECT count(*) FROM mark")


def fetching(shop: Shop, script: str, **more: object) -> Params:
    """Params whose fetch command is that shell script; $1 is the name, $2 where to put it, $A the archive."""
    argv = write_script(shop.cluster.home / "fetch", f'A="{shop.cluster.archive}"\n{script}')
    return shop.cluster.params(
        cluster={"wal_archive": {"fetch_command": [*argv, "%f", "%p"], "fetch_timeout": 2} | more}
    )


COPY = 'if [ -f "$A/$1" ]; then exec cp "$A/$1" "$2"; fi\nexit 1'


def test_healthy_fetch_command_passes(shop: Shop) -> None:
    outcome = prove(shop.cluster, fetching(shop, COPY), look=MARKS)
    assert (outcome.verdict, outcome.alarms, outcome.seen) == ("PASS", [], 4)


def test_hanging_command_ends_in_time(shop: Shop) -> None:
    name = shop.segment_of(shop.mark(2)).name
    outcome = prove(shop.cluster, fetching(shop, f'if [ "$1" = {name} ]; then sleep 600; fi\n{COPY}'))
    assert isinstance(outcome.error, CommandTimedOut) and outcome.verdict == "INCOMPLETE"
    assert name in outcome.said and "fetch_timeout" in outcome.said


def test_gap_behind_a_command_is_found_by_looking_ahead(shop: Shop) -> None:
    gone = shop.segment_of(shop.mark(2))
    gone.unlink()
    outcome = prove(shop.cluster, fetching(shop, COPY))
    assert isinstance(outcome.error, WalDamaged) and gone.name in outcome.said and "missing" in outcome.said


def test_command_that_fails_once_is_asked_again(shop: Shop) -> None:
    name = shop.segment_of(shop.mark(2)).name
    once = f'if [ "$1" = {name} ] && mkdir "{shop.cluster.home}/asked" 2> /dev/null; then exit 1; fi'
    shop.cluster.home.chmod(0o777)
    outcome = prove(shop.cluster, fetching(shop, f"{once}\n{COPY}"), look=MARKS)
    assert (outcome.verdict, outcome.alarms, outcome.seen) == ("PASS", [], 4)


@pytest.mark.parametrize("code", [1, 126, 137, 255])
def test_command_that_dies_on_the_way_is_not_taken_for_the_end(shop: Shop, code: int) -> None:
    """From some file on it delivers nothing any more: network, credentials."""
    name = shop.segment_of(shop.mark(2)).name
    state = shop.cluster.home / "state"
    state.mkdir()
    state.chmod(0o777)
    script = f'if [ ${{#1}} = 24 ] && ! [ "$1" \\< {name} ]; then touch "{state}/dead"; fi\nif [ -f "{state}/dead" ]; then exit {code}; fi\n{COPY}'
    outcome = prove(shop.cluster, fetching(shop, script))
    assert isinstance(outcome.error, CommandFailed) and outcome.verdict == "INCOMPLETE"
    assert "fetch" in outcome.said


def test_command_that_dies_between_a_later_file_and_an_earlier_one_has_no_gap(shop: Shop) -> None:
    """Several files are asked for at once; what came last before it died may be the later one."""
    name, later = (shop.segment_of(shop.mark(number)).name for number in (2, 3))
    assert name < later
    dead = shop.cluster.home / "state" / "dead"
    dead.parent.mkdir()
    dead.parent.chmod(0o777)
    script = f'''if [ "$1" = {name} ]; then for i in 1 2 3 4 5 6 7 8 9; do if [ -f "{dead}" ]; then exit 1; fi; sleep 0.1; done; fi
if [ -f "{dead}" ]; then exit 1; fi
if [ "$1" = {later} ]; then cp "$A/$1" "$2"; touch "{dead}"; exit 0; fi
{COPY}'''
    outcome = prove(shop.cluster, fetching(shop, script))
    assert dead.exists()
    # Which of them is asked for once more depends on who came first; a gap is none of it.
    assert isinstance(outcome.error, CommandFailed) and outcome.verdict == "INCOMPLETE"
    assert "does not deliver it any more" in outcome.said


def test_command_that_says_yes_and_delivers_nothing_never_passes(shop: Shop) -> None:
    outcome = prove(shop.cluster, fetching(shop, "exit 0"))
    assert isinstance(outcome.error, CommandFailed) and outcome.verdict == "INCOMPLETE"
    assert "ended with code 0" in outcome.said and "left nothing" in outcome.said


@pytest.mark.parametrize("part", ["head -c 5000000", "head -c 0", "tr '\\000' '\\001'"])
def test_command_that_delivers_a_torn_file_never_passes(shop: Shop, part: str) -> None:
    name = shop.segment_of(shop.mark(2)).name
    outcome = prove(
        shop.cluster, fetching(shop, f'if [ "$1" = {name} ]; then {part} < "$A/$1" > "$2"; exit 0; fi\n{COPY}')
    )
    assert isinstance(outcome.error, WalDamaged) and name in outcome.said


def test_command_that_is_not_there_is_refused(shop: Shop) -> None:
    params = shop.cluster.params(cluster={"wal_archive": {"fetch_command": ["/nowhere/fetch", "%f", "%p"]}})
    outcome = prove(shop.cluster, params)
    assert isinstance(outcome.error, OperatorError) and "/nowhere/fetch" in outcome.said


def test_list_that_names_what_cannot_be_fetched_never_passes(shop: Shop) -> None:
    gone = shop.segment_of(shop.mark(4))
    lister = write_script(shop.cluster.home / "list", f'ls "{shop.cluster.archive}"; echo {gone.name}')
    gone.unlink()
    outcome = prove(shop.cluster, fetching(shop, COPY, list_command=lister))
    assert outcome.verdict != "PASS" and gone.name in outcome.said


def test_list_command_that_fails_never_passes(shop: Shop) -> None:
    lister = write_script(shop.cluster.home / "list", "echo no credentials >&2; exit 3")
    outcome = prove(shop.cluster, fetching(shop, COPY, list_command=lister))
    assert isinstance(outcome.error, CommandFailed) and "no credentials" in outcome.said


def test_nothing_is_left_behind_by_a_command_that_fails(shop: Shop, tmp_path: Path) -> None:
    location = shop.cluster.home / "elsewhere"
    location.mkdir(mode=0o755)
    shutil.rmtree(tmp_path)
    outcome = prove(shop.cluster, fetching(shop, 'echo half > "$2"; exit 1'), scratch=str(location))
    assert outcome.verdict != "PASS" and list(location.iterdir()) == []


#: What a command may leave for any name that it is asked for, ending with 0.
NONSENSE = {
    "junk": 'echo junk > "$2"',
    "a segment": 'cp "$A/$(ls "$A" | head -1)" "$2"',
    "a history": 'printf "1\\t0/3000000\\tno recovery target specified\\n" > "$2"',
    "a folder": 'mkdir -p "$2/x"',
    "a pipe": 'mkfifo "$2"',
    "a link to a folder": 'ln -s "$A" "$2"',
    "a link to nothing": 'ln -s /nowhere/at/all "$2"',
    "a link to itself": 'ln -s "$2" "$2"',
    "a pipe behind a link": 'mkfifo "$2.pipe" 2> /dev/null; ln -s "$2.pipe" "$2"',
}


@pytest.mark.parametrize("what", NONSENSE)
def test_command_that_says_yes_to_everything_is_found_at_once(shop: Shop, what: str) -> None:
    location = shop.cluster.home / "elsewhere"
    location.mkdir(mode=0o755)
    began = time.monotonic()
    outcome = prove(shop.cluster, fetching(shop, f"{NONSENSE[what]}\nexit 0"), scratch=str(location))
    assert isinstance(outcome.error, CommandFailed) and outcome.verdict == "INCOMPLETE", outcome.alarms
    assert "FFFFFFFF.history" in outcome.said and time.monotonic() - began < 15
    assert list(location.iterdir()) == []


@pytest.mark.parametrize("what", [name for name in NONSENSE if name not in ("a segment", "a history", "junk")])
def test_command_that_leaves_no_file_for_one_segment_is_named(shop: Shop, what: str) -> None:
    name = shop.segment_of(shop.mark(2)).name
    outcome = prove(shop.cluster, fetching(shop, f'if [ "$1" = {name} ]; then {NONSENSE[what]}; exit 0; fi\n{COPY}'))
    assert isinstance(outcome.error, CommandFailed) and outcome.verdict == "INCOMPLETE", outcome.alarms
    assert name in outcome.said


def test_command_with_a_history_for_every_number_comes_to_an_end(shop: Shop) -> None:
    script = f'case "$1" in FFFFFFFF*) exit 1;; *.history) printf "1\\t0/3000000\\tx\\n" > "$2"; exit 0;; esac\n{COPY}'
    outcome = prove(shop.cluster, fetching(shop, script))
    assert isinstance(outcome.error, CommandFailed) and "there was no end" in outcome.said


def test_command_that_delivers_junk_as_a_history_is_no_damage(shop: Shop) -> None:
    outcome = prove(
        shop.cluster, fetching(shop, f'if [ "$1" = 00000002.history ]; then echo x > "$2"; exit 0; fi\n{COPY}')
    )
    assert isinstance(outcome.error, CommandFailed) and "00000002.history" in outcome.said


def test_command_that_prints_without_an_end_ends_in_time(shop: Shop) -> None:
    outcome = prove(shop.cluster, fetching(shop, "exec yes"))
    assert isinstance(outcome.error, CommandTimedOut) and outcome.verdict == "INCOMPLETE"


#: What a list may look like: the same names each time, `$A` the archive.
LISTS = {
    "ls -l": 'ls -l "$A"',
    "paths": 'find "$A" -type f',
    "CRLF": 'ls "$A" | sed "s/$/\\r/"',
    "compressed, with checksums": f'ls "$A" | sed "s/$/-{"0" * 40}.gz/"',
    "blanks": 'ls "$A" | sed "s/^/   /; s/$/  /"',
    "with other files": 'ls "$A"; echo README; echo lost+found; head -c 300 /dev/urandom | tr "A-F0-9" " "; echo',
}


@pytest.mark.parametrize("form", LISTS)
def test_list_in_any_form_finds_the_gap(shop: Shop, form: str) -> None:
    params = listing(shop, LISTS[form])
    assert prove(shop.cluster, params).verdict == "PASS"
    gone = shop.segment_of(shop.mark(2))
    gone.unlink()
    outcome = prove(shop.cluster, params)
    assert isinstance(outcome.error, WalDamaged) and gone.name in outcome.said and "missing" in outcome.said


def listing(shop: Shop, script: str) -> Params:
    lister = write_script(shop.cluster.home / "list", f'A="{shop.cluster.archive}"\n{script}')
    return fetching(shop, COPY, list_command=lister)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 0", "names 0 files"),
        ("echo 'There are 12 files.'; echo 0000", "none ends in the name of a WAL file"),
        ("head -c 3000000 /dev/urandom", "list"),
        ("head -c 3000000 /dev/zero", "without an end"),
        ('ls "$A" | head -3', "names 3 files"),
        ("exec yes", "list"),
        ('ls "$A" | sed "s/$/.tmp/"', "none ends in the name of a WAL file"),
    ],
)
@pytest.mark.parametrize("with_gap", [False, True])
def test_list_that_does_not_name_what_can_be_fetched_never_passes(
    shop: Shop, script: str, words: str, with_gap: bool
) -> None:
    if with_gap:
        shop.segment_of(shop.mark(2)).unlink()
    outcome = prove(shop.cluster, listing(shop, script))
    assert isinstance(outcome.error, CommandFailed | CommandTimedOut) and outcome.verdict == "INCOMPLETE", (
        outcome.alarms
    )
    assert words in outcome.said


def test_outage_after_the_list_is_no_gap(shop: Shop) -> None:
    """What is listed and not delivered is damage only while other files are delivered."""
    name, dead = shop.segment_of(shop.mark(2)).name, shop.cluster.home / "state" / "dead"
    dead.parent.mkdir()
    dead.parent.chmod(0o777)
    lister = write_script(shop.cluster.home / "list", f'ls "{shop.cluster.archive}"')
    script = f'if [ "$1" = {name} ]; then touch "{dead}"; fi\nif [ -f "{dead}" ]; then exit 1; fi\n{COPY}'
    outcome = prove(shop.cluster, fetching(shop, script, list_command=lister))
    assert isinstance(outcome.error, CommandFailed) and "does not deliver it any more" in outcome.said


@pytest.mark.parametrize(
    ("name", "verdict"), [("0000000100000000000000F0", "INCOMPLETE"), ("00000001000000000000FFFF", "PASS")]
)
def test_list_alone_makes_no_gap(shop: Shop, name: str, verdict: str) -> None:
    """A name of a later segment that nobody can fetch, or that no segment can have."""
    outcome = prove(shop.cluster, listing(shop, f'ls "$A"; echo {name}'))
    assert outcome.verdict == verdict, outcome.alarms
    assert not isinstance(outcome.error, WalDamaged)


def test_file_without_an_end_is_not_read_to_it(shop: Shop) -> None:
    name = shop.segment_of(shop.mark(2)).name
    began = time.monotonic()
    outcome = prove(
        shop.cluster, fetching(shop, f'if [ "$1" = {name} ]; then truncate -s 100G "$2"; exit 0; fi\n{COPY}')
    )
    assert isinstance(outcome.error, WalDamaged) and name in outcome.said and "107374182400 bytes" in outcome.said
    assert time.monotonic() - began < 20
