"""WAL that was written last is safe whatever the archiver and the server do, and a recovery can use it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from homes import at_home
from own_cluster import OwnCluster, own_cluster, write_script
from runbook.errors import PlatformError
from runbook.params.schema import Params
from runbook.platforms.cluster.live import LiveServer
from runbook.platforms.cluster.selection import Selection
from runbook.platforms.cluster.tail import Tail, secure_tail
from runbook.platforms.cluster.walarchive import WalArchive
from runbook.platforms.cluster.walstage import Stage
from runbook.platforms.cluster.window import Resolved
from runbook.postgres.osuser import give
from runbook.postgres.wal import Timeline, format_lsn
from runbook.recovery.forensics import search_wal

pytestmark = [pytest.mark.server, pytest.mark.faults]
LINEAGE = (Timeline(1, 0, None),)


@dataclass
class Case:
    """A cluster with a backup, whose archiver is then played with."""

    cluster: OwnCluster
    folder: Path

    def params(self, **changed: dict[str, Any]) -> Params:
        return self.cluster.params(**changed)

    def secure(self, timeout: float = 3.0, **changed: dict[str, Any]) -> Tail:
        with at_home(self.cluster.home):
            cluster = self.params(**changed).cluster
            assert cluster is not None
            return secure_tail(LiveServer(cluster, "r1"), self.folder / "tail", timeout=timeout)

    def archive_with(self, command: str) -> None:
        self.cluster.sql(f"ALTER SYSTEM SET archive_command = $${command}$$", "SELECT pg_reload_conf()")
        time.sleep(0.3)

    def write(self, number: int) -> str:
        """A committed row; the transaction's number."""
        return str(self.cluster.sql(f"INSERT INTO mark VALUES ({number}) RETURNING xmin::text")[0][0])

    def resolve(self, tail: Tail | None) -> Resolved:
        """The newest point that a selection finds."""
        with at_home(self.cluster.home):
            cluster = self.params().cluster
            assert cluster is not None
            extra = tail.folder if tail is not None else None
            selection = Selection(cluster, self.cluster.user, "latest", "auto", 60, extra=extra)
            selection.describe()
            wal = self.folder / f"stage-{time.monotonic_ns()}"
            wal.mkdir()
            give(wal, self.cluster.user)
            selection.choose(wal)
            return selection.resolve(lambda position: None)

    def search(self, tail: Tail, start: int) -> set[int]:
        """Every xid that a search of archive and overlay finds."""
        with at_home(self.cluster.home):
            cluster = self.params().cluster
            assert cluster is not None
            wal = self.folder / f"stage-{time.monotonic_ns()}"
            wal.mkdir()
            archive = WalArchive(cluster.wal_archive, self.cluster.user, tail.folder)
            stage = Stage(archive, wal, LINEAGE, start, 16 << 20)
            return set(search_wal(stage, LINEAGE, self.cluster.tools, start, None, keeps_xids=True).xids or ())


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    with own_cluster("--wal-segsize=16") as cluster:
        cluster.sql("CREATE TABLE mark (number int)")
        cluster.backup("first")
        cluster.switch()
        yield Case(cluster, tmp_path)


def last_commit(found: Resolved) -> str:
    return str(found.point.before.xid) if found.point.before is not None else "none"


def require_found(case: Case, tail: Tail, xid: str) -> None:
    """Selection and search both see the last transaction, by way of the overlay alone."""
    assert last_commit(case.resolve(None)) != xid, "the archive alone does not reach it"
    found = case.resolve(tail)
    assert last_commit(found) == xid and found.point.reached == tail.end
    assert int(xid) in case.search(tail, found.backup.start)


def test_archive_that_takes_the_tail_needs_no_copy(case: Case) -> None:
    xid = case.write(1)
    for _ in range(2):
        tail = case.secure()
        assert (tail.folder, tail.copied, tail.why) == (None, (), "")
        assert (case.cluster.archive / tail.segment).is_file()
    found = case.resolve(tail)
    assert last_commit(found) == xid and found.point.reached <= tail.end


def test_failing_archiver_is_not_waited_for_and_the_tail_is_copied(case: Case) -> None:
    case.archive_with("false")
    first = case.write(1)
    case.cluster.sql("SELECT pg_switch_wal()")
    xid = case.write(2)
    began = time.monotonic()
    tail = case.secure(timeout=60)
    assert time.monotonic() - began < 20 and tail.why.startswith("archiving fails")
    assert len(tail.copied) >= 2 and tail.copied[-1] == tail.segment
    require_found(case, tail, xid)
    assert int(first) in case.search(tail, case.resolve(tail).backup.start)
    later = case.write(3)
    again = case.secure(timeout=60)
    assert again.end > tail.end and again.copied[: len(tail.copied)] == tail.copied
    require_found(case, again, later)


def test_hanging_archiver_is_waited_for_no_longer_than_params_say(case: Case) -> None:
    case.archive_with("sleep 600")
    xid = case.write(1)
    began = time.monotonic()
    tail = case.secure(timeout=2)
    assert 2 <= time.monotonic() - began < 10 and "not archived within 2 s" in tail.why
    require_found(case, tail, xid)


def test_archiver_that_leaves_half_a_segment_under_its_name_is_seen(case: Case) -> None:
    script = write_script(case.cluster.home / "half", f'head -c 100000 "$1" > {case.cluster.archive}/"$2"; sleep 600')
    case.archive_with(f"{script[0]} %p %f")
    xid = case.write(1)
    tail = case.secure(timeout=2)
    assert (case.cluster.archive / tail.segment).stat().st_size == 100000
    assert last_commit(case.resolve(tail)) == xid


def test_archiver_that_lies_is_seen(case: Case) -> None:
    case.archive_with("true")
    xid = case.write(1)
    tail = case.secure(timeout=2)
    assert tail.segment in tail.copied
    require_found(case, tail, xid)


def test_server_that_archives_nothing_is_copied_at_once(case: Case) -> None:
    case.archive_with("")
    xid = case.write(1)
    began = time.monotonic()
    tail = case.secure(timeout=60)
    assert time.monotonic() - began < 10 and tail.why == "nothing is archived"
    require_found(case, tail, xid)


def test_dead_servers_tail_ends_at_its_last_whole_record(case: Case) -> None:
    for number in range(40):  # older content lies behind the end of the segment in use
        case.cluster.sql(f"INSERT INTO mark SELECT {number} FROM generate_series(1, 3000)")
    case.cluster.switch()
    case.cluster.sql("CHECKPOINT")
    case.archive_with("false")
    case.write(1)
    case.cluster.sql("SELECT pg_switch_wal()")
    xid = case.write(2)
    end = case.cluster.lsn()
    case.cluster.stop("immediate")
    for _ in range(2):
        tail = case.secure()
        assert tail.folder is not None and tail.why == "the server is down"
        assert format_lsn(tail.end) >= end and last_commit(case.resolve(tail)) == xid
        require_found(case, tail, xid)
    # What the server writes later into that segment belongs to another life: the tail stays as it was.
    case.cluster.start()
    case.write(3)
    assert last_commit(case.resolve(tail)) == xid


def test_segment_that_was_unfinished_gives_way_to_the_archives_once_the_server_has_lived_on(case: Case) -> None:
    case.write(1)
    case.cluster.stop("immediate")
    first = case.secure()
    assert first.folder is not None and (first.folder / first.segment).exists()
    case.cluster.start()
    for number in range(3):  # its segment is finished and archived, and so are the next ones
        case.write(number)
        case.cluster.switch()
    xid = case.write(9)
    case.cluster.stop("immediate")
    again = case.secure()
    assert not (first.folder / first.segment).exists()
    require_found(case, again, xid)


def test_dead_server_whose_wal_ends_at_a_segments_start(case: Case) -> None:
    case.archive_with("false")
    xid = case.write(1)
    case.cluster.sql("SELECT pg_switch_wal()")
    case.cluster.stop("immediate")
    tail = case.secure()
    assert last_commit(case.resolve(tail)) == xid


def test_fetch_command_that_hangs_is_asked_once(case: Case) -> None:
    script = write_script(case.cluster.home / "fetch", "sleep 600")
    case.write(1)
    began = time.monotonic()
    changed = {"cluster": {"wal_archive": {"fetch_command": [*script, "%f", "%p"], "fetch_timeout": "2 s"}}}
    tail = case.secure(timeout=30, **changed)
    assert time.monotonic() - began < 12 and "cannot be asked" in tail.why
    assert tail.segment in tail.copied


def test_fetch_command_that_delivers_needs_no_copy(case: Case) -> None:
    text = f'test -f {case.cluster.archive}/$1 || exit 1; cp {case.cluster.archive}/$1 "$2"'
    script = write_script(case.cluster.home / "fetch", text)
    case.write(1)
    tail = case.secure(timeout=30, cluster={"wal_archive": {"fetch_command": [*script, "%f", "%p"]}})
    assert (tail.folder, tail.why) == (None, "")


def test_expired_wal_is_no_part_of_the_tail(case: Case) -> None:
    """pg_wal may hold segments that the archive has let expire."""
    case.cluster.sql("ALTER SYSTEM SET wal_keep_size = '512MB'", "SELECT pg_reload_conf()")
    for number in range(3):
        case.write(number)
        case.cluster.switch()
    kept = sorted(path.name for path in case.cluster.archive.iterdir() if len(path.name) == 24)
    for name in kept[:-2]:
        (case.cluster.archive / name).unlink()
    case.archive_with("false")
    case.write(9)
    tail = case.secure(timeout=30)
    assert set(tail.copied).isdisjoint(kept)


def test_gap_in_the_archive_is_filled_from_pg_wal(case: Case) -> None:
    case.cluster.sql("ALTER SYSTEM SET wal_keep_size = '512MB'", "SELECT pg_reload_conf()")
    names = []
    for number in range(3):
        xid = case.write(number)
        names.append(case.cluster.switch())
    (case.cluster.archive / names[1]).unlink()
    tail = case.secure()
    assert tail.copied == (names[1],) and names[1] in tail.why
    assert last_commit(case.resolve(tail)) == xid


def test_tail_survives_being_written_down(case: Case) -> None:
    case.archive_with("false")
    case.write(1)
    tail = case.secure(timeout=30)
    again = Tail.from_facts(tail.facts())
    assert (again.end, again.folder, again.copied) == (tail.end, tail.folder, tail.copied)


def test_folder_that_cannot_be_written_is_said(case: Case) -> None:
    case.archive_with("false")
    case.write(1)
    (case.folder / "tail").write_text("no folder")
    with pytest.raises(PlatformError, match="cannot be copied"):
        case.secure(timeout=30)
