"""WAL whose copy into the archive is under way: waited for, never called damage; what the archiver has finished is judged."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from homes import at_home
from own_cluster import OwnCluster, own_cluster, segments, write_script
from proof import prove
from runbook.errors import OperatorError, StillArriving, TargetOutsideWindow, WalDamaged
from runbook.inspection.states import State
from runbook.params.schema import Params
from runbook.platforms.cluster import selection
from runbook.postgres.segmentfile import look_at
from runbook.recovery.parameters import check_parameters
from shop import SEGMENT, flip, used_bytes
from test_health_stores import look, the_one

pytestmark = [pytest.mark.server, pytest.mark.faults]

#: As cp does over a slow link: half of the file lies there for a while under its name. $1 is the file, $2 its name, $A the archive.
SLOW = 'test ! -f "$A/$2" || exit 1; head -c 8388608 "$1" > "$A/$2" && sleep {0} && tail -c +8388609 "$1" >> "$A/$2"'
#: As rsync --preallocate does: the size is there at once, the content not.
PREALLOCATED = (
    'test ! -f "$A/$2" || exit 1; truncate -s 16777216 "$A/$2"; dd if="$1" of="$A/$2" bs=3000 count=1 conv=notrunc '
    '&& sleep {0} && dd if="$1" of="$A/$2" bs=64k conv=notrunc'
)
WAYS = {"slow copy": SLOW, "preallocated": PREALLOCATED}


@pytest.fixture
def cluster() -> Iterator[OwnCluster]:
    with own_cluster("--data-checksums") as made:
        made.sql("CREATE EXTENSION amcheck", "CREATE TABLE t (a int)", "INSERT INTO t SELECT generate_series(1, 100)")
        made.backup("first")
        made.fence()
        yield made


def archive_by(cluster: OwnCluster, script: str) -> None:
    argv = write_script(cluster.home / "archive-wal", f'A="{cluster.archive}"\n{script}')
    cluster.sql(
        f"ALTER SYSTEM SET archive_command = '{argv[0]} %p %f'", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)"
    )


def begin_archiving(cluster: OwnCluster) -> Path:
    """A commit is in a segment whose copy has begun; its file."""
    cluster.sql("INSERT INTO t SELECT generate_series(1, 2000)")
    name = cluster.sql("SELECT pg_walfile_name(pg_switch_wal())")[0][0]
    path = cluster.archive / str(name)
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.1)
    return path


@pytest.mark.parametrize("way", WAYS)
def test_fence_waits_until_its_segment_is_whole(cluster: OwnCluster, way: str) -> None:
    archive_by(cluster, WAYS[way].format(3))
    cluster.sql("INSERT INTO t SELECT generate_series(1, 2000)")
    cluster.fence()
    assert prove(cluster).verdict == "PASS"


@pytest.mark.parametrize("way", WAYS)
def test_verification_waits_for_a_segment_whose_copy_is_under_way(cluster: OwnCluster, way: str) -> None:
    archive_by(cluster, WAYS[way].format(8))
    path = begin_archiving(cluster)
    assert not look_at(path).is_whole(SEGMENT)
    outcome = prove(cluster)
    assert (outcome.verdict, outcome.alarms) == ("PASS", [])
    assert look_at(path).is_whole(SEGMENT)


def impatient(cluster: OwnCluster, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.setattr(selection, "PATIENCE", 4.0)
    return cluster.params(cluster={"wal_archive": {"directory": "archive", "fetch_timeout": "4 s"}})


@pytest.mark.parametrize("way", WAYS)
def test_copy_that_does_not_end_is_unknown_and_no_damage(
    cluster: OwnCluster, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive_by(cluster, WAYS[way].format(300))
    path = begin_archiving(cluster)
    outcome = prove(cluster, impatient(cluster, monkeypatch))
    assert isinstance(outcome.error, StillArriving) and outcome.verdict == "INCOMPLETE"
    assert path.name in outcome.said and "Nothing proves that this is damage" in outcome.said
    assert f"ls -l {path}" in outcome.said


def cut_short(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(used_bytes(path) // 2)


def zero_tail(path: Path) -> None:
    keep = used_bytes(path) // 2
    with path.open("r+b") as file:
        file.truncate(keep)
        file.truncate(SEGMENT)


@pytest.mark.parametrize("harm", [cut_short, zero_tail])
def test_segment_that_the_archiver_has_finished_is_damaged(cluster: OwnCluster, harm: object) -> None:
    cluster.sql("INSERT INTO t VALUES (100001)")
    cluster.switch()
    time.sleep(0.3)
    last = segments(cluster)[-1]
    harm(last)  # type: ignore[operator]
    outcome = prove(cluster)
    assert isinstance(outcome.error, WalDamaged) and last.name in outcome.said


def test_segment_that_the_archiver_has_finished_and_that_still_grows_is_waited_for(cluster: OwnCluster) -> None:
    """An archive command that returns before its tool has copied the file."""
    part = 'dd if="$1" of="$A/$2" bs=1M count=1 skip=$i seek=$i conv=notrunc'
    steps = "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15"
    archive_by(cluster, f"(for i in {steps}; do {part}; sleep 0.4; done) > /dev/null 2>&1 &\nexit 0")
    path = begin_archiving(cluster)
    deadline = time.monotonic() + 5
    while cluster.sql("SELECT last_archived_wal FROM pg_stat_archiver")[0][0] != path.name:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not look_at(path).is_whole(SEGMENT)
    assert prove(cluster).verdict == "PASS"


def test_flipped_bit_in_a_half_file_is_named_too(cluster: OwnCluster) -> None:
    cluster.sql("INSERT INTO t VALUES (100001)")
    cluster.switch()
    last = segments(cluster)[-1]
    flip(last, 12)  # its position: the header contradicts the name
    cut_short(last)
    outcome = prove(cluster)
    assert isinstance(outcome.error, WalDamaged) and "another place" in outcome.said


def test_half_segment_is_not_counted_as_archived(cluster: OwnCluster) -> None:
    whole = segments(cluster)[-1]
    archive_by(cluster, SLOW.format(300))
    half = begin_archiving(cluster)
    cluster.sql("SELECT pg_logical_emit_message(true, 'test', 'a commit')")
    found = the_one(look(cluster, "archived_wal_age"))
    assert whole.name in found.note and half.name not in found.note


def test_compressed_file_that_is_still_arriving_is_no_damage(
    cluster: OwnCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = 'test ! -f "$A/$2.gz" || exit 1; gzip -c "$1" > "$1.gz"; head -c 3000 "$1.gz" > "$A/$2.gz"; sleep 300'
    fetch = f'if [ -f "{cluster.archive}/$1" ]; then exec cp "{cluster.archive}/$1" "$2"; fi\ngzip -dc "{cluster.archive}/$1.gz" > "$2"'
    argv = write_script(cluster.home / "fetch", fetch)
    archive_by(cluster, packed)
    cluster.sql("INSERT INTO t SELECT generate_series(1, 5000)")
    name = cluster.sql("SELECT pg_walfile_name(pg_switch_wal())")[0][0]
    time.sleep(1.5)
    monkeypatch.setattr(selection, "PATIENCE", 4.0)
    outcome = prove(
        cluster,
        cluster.params(
            cluster={"wal_archive": {"fetch_command": [*argv, "%f", "%p"], "fetch_timeout": "4 s"}},
        ),
    )
    assert isinstance(outcome.error, StillArriving) and outcome.verdict == "INCOMPLETE", outcome.alarms
    assert str(name) in outcome.said


def test_base_backup_that_is_being_written_is_left_out_and_named(cluster: OwnCluster) -> None:
    """Throttled, as over a slow link: its files come for a while, its manifest last."""
    cluster.sql("INSERT INTO t SELECT generate_series(1, 100000)")
    cluster.fence()
    words = (
        cluster.tools.path("pg_basebackup"), "-h", str(cluster.socket), "-U", "postgres", "-D", str(cluster.backups / "second"),
        "-Xnone", "-c", "fast", "--no-password", "--max-rate=2M",
    )  # fmt: skip
    writing = subprocess.Popen(
        words, user=cluster.user.name if cluster.user else None, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 20
        while not (cluster.backups / "second" / "backup_label").exists():
            assert time.monotonic() < deadline and writing.poll() is None
            time.sleep(0.1)
        outcome = prove(cluster)
        assert writing.poll() is None, "it has ended too early to prove anything"
    finally:
        writing.kill()
        writing.wait()
    assert (outcome.verdict, outcome.alarms, outcome.backup) == ("PASS", [], "first")
    assert any("second is still being written" in said for said in outcome.limitations)


def test_backup_that_was_cut_short_is_not_taken_for_one_that_is_being_written(cluster: OwnCluster) -> None:
    backup = cluster.backups / "first"
    (backup / "backup_manifest").unlink()
    outcome = prove(cluster)
    assert outcome.check("manifest").status == "UNKNOWN" and outcome.limitations == [
        said for said in outcome.limitations if "being written" not in said
    ]


def test_recovery_point_after_all_that_was_written_is_refused_before_anything(cluster: OwnCluster) -> None:
    values = {
        "recovery_point": "FFFFFFFF/0", "timeline": "auto", "look_back": "24 h", "personal_data": "", "way": "", "acceptance": "",
        "dry_run": True,
    }  # fmt: skip
    with at_home(cluster.home):
        params = cluster.params()
        with pytest.raises(OperatorError, match="lies after everything that production has written"):
            check_parameters(params, values)
        check_parameters(params, {**values, "recovery_point": cluster.lsn()})
    began = time.monotonic()
    outcome = prove(cluster, recovery_point="FFFFFFFF/0")
    assert isinstance(outcome.error, TargetOutsideWindow) and time.monotonic() - began < 15


def test_archived_segments_that_are_gone_are_critical_the_same_day(cluster: OwnCluster) -> None:
    """Long before the RPO is over: the archiver itself says that it has archived more."""
    names = []
    for _ in range(2):
        cluster.sql("INSERT INTO t VALUES (1)")
        names.append(cluster.switch())
    assert look(cluster, "archive_lacks_wal").seen == ()
    time.sleep(62)
    assert look(cluster, "archive_lacks_wal").seen == ()
    for name in names:
        (cluster.archive / name).unlink()
    found = the_one(look(cluster, "archive_lacks_wal"))
    assert (found.state, found.value) == (State.CRITICAL, 2) and names[-1] in found.note
    for path in segments(cluster):
        path.unlink()
    found = the_one(look(cluster, "archive_lacks_wal"))
    assert found.state is State.CRITICAL and "in the archive is none" in found.note


def test_backup_whose_last_wal_is_not_archived_yet_is_no_damage(cluster: OwnCluster) -> None:
    """Taken by the low-level API without waiting for the archive, as snapshot tools take it."""
    copy = cluster.backups / "newer"
    with cluster.connect() as connection:
        connection.execute("SELECT pg_backup_start('newer', true)")
        connection.execute("INSERT INTO t VALUES (100001)")
        connection.execute("SELECT pg_switch_wal()")
        time.sleep(1)
        archive_by(cluster, "exit 1")
        connection.execute("INSERT INTO t VALUES (100002)")
        shutil.copytree(cluster.data, copy, ignore=shutil.ignore_patterns("pg_wal", "postmaster.*"), symlinks=True)
        (copy / "pg_wal").mkdir(mode=0o700)
        found = connection.execute("SELECT labelfile FROM pg_backup_stop(false)").fetchone()
        assert found is not None
        (copy / "backup_label").write_text(found[0])
    outcome = prove(cluster)
    assert isinstance(outcome.error, StillArriving) and outcome.verdict == "INCOMPLETE", outcome.said
    assert "Its WAL is not archived yet" in outcome.said and "pg_switch_wal()" in outcome.said


def test_archive_in_folders_is_named_and_no_damage(cluster: OwnCluster) -> None:
    """As Barman keeps WAL."""
    cluster.sql("INSERT INTO t VALUES (100001)")
    cluster.switch()
    time.sleep(0.5)
    cluster.stop()
    for path in segments(cluster):
        folder = cluster.archive / path.name[:16]
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
    outcome = prove(cluster)
    assert isinstance(outcome.error, OperatorError) and "as Barman does" in outcome.said, outcome.said
    assert "take a new base backup" not in outcome.said
