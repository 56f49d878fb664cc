"""A scratch can reach nothing but itself: promoted, written to and checkpointed, it leaves all that is production's as it was."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from own_cluster import OwnCluster, own_cluster
from proof import prove
from runbook.postgres.osuser import give
from shop import add_mark, fill

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def living() -> Iterator[OwnCluster]:
    """A stopped cluster with its own tablespace, whose configuration reaches out wherever it can."""
    with own_cluster("--data-checksums", settings={"listen_addresses": "127.0.0.1", "port": "5432"}) as cluster:
        fill(cluster)
        place = cluster.home / "tablespaces" / "apart"
        place.mkdir(mode=0o700)
        give(place, cluster.user)
        cluster.sql(f"CREATE TABLESPACE apart LOCATION '{place}'")
        cluster.sql("CREATE TABLE far TABLESPACE apart AS SELECT generate_series(1, 2500) AS id", database="shop")
        cluster.backup("first", f"--tablespace-mapping={place}={cluster.backups}/ts", "-Xstream")
        cluster.fence()
        for number in (1, 2, 3):
            add_mark(cluster, number)
            cluster.switch()
        cluster.stop()
        yield cluster


def fingerprint(folder: Path) -> dict[str, tuple[str, int, int, int, int]]:
    """Content, mode, owner, inode and number of links of every file; the target of every link."""
    found = {}
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        if path.is_symlink():
            digest = str(path.readlink())
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        found[str(path.relative_to(folder))] = (digest, facts.st_mode, facts.st_uid, facts.st_ino, facts.st_nlink)
    return found


def of_production(cluster: OwnCluster) -> dict[str, Any]:
    names = ("data", "archive", "backups", "tablespaces")
    return {name: fingerprint(cluster.home / name) for name in names}


def write_all_over(proof: Any) -> dict[str, Any]:
    """The promoted scratch makes WAL, drops, vacuums and checkpoints, until old segments would be reused."""
    with proof.scratch.connect("shop", read_only=False) as connection:
        connection.execute("SET search_path = public")
        for _ in range(4):
            connection.execute("INSERT INTO far SELECT generate_series(1, 2000)")
            connection.execute("UPDATE item SET name = name || 'y'")
            connection.execute("SELECT pg_switch_wal()")
            connection.execute("CHECKPOINT")
        connection.execute("TRUNCATE quiet")
        connection.execute("DROP TABLE item")
    with proof.scratch.connect("shop", read_only=False) as connection:
        connection.execute("VACUUM (FULL) public.far")
        connection.execute("CHECKPOINT")
        names = ("archive_mode", "listen_addresses", "primary_conninfo", "restore_command", "archive_command")
        return {name: next(iter(connection.execute(f"SHOW {name}").fetchone().values())) for name in names}


def test_promoted_scratch_changes_nothing_of_production(living: OwnCluster) -> None:
    before = of_production(living)
    seen: dict[str, Any] = {}

    def look(proof: Any, step: str) -> None:
        if step == "measure":
            seen.update(write_all_over(proof))

    outcome = prove(living, promote=True, before=look)
    assert (outcome.verdict, outcome.alarms) == ("PASS", [])
    assert seen == {
        "archive_mode": "off",
        "listen_addresses": "",
        "primary_conninfo": "",
        "restore_command": "",
        "archive_command": "(disabled)",
    }
    after = of_production(living)
    for name, files in before.items():
        assert after[name] == files, f"{name} was changed"


def test_scratch_shares_no_file_and_no_folder_with_production(living: OwnCluster) -> None:
    owned = {
        (path.stat().st_dev, path.stat().st_ino)
        for name in ("data", "archive", "backups", "tablespaces")
        for path in (living.home / name).rglob("*")
        if path.is_file()
    }

    def look(proof: Any) -> list[str]:
        shared = []
        for folder, _, names in os.walk(proof.scratch.folder):
            for name in names:
                path = Path(folder) / name
                if not path.is_symlink() and (path.stat().st_dev, path.stat().st_ino) in owned:
                    shared.append(str(path))
        for path in (proof.scratch.data / "pg_tblspc").iterdir():
            if not path.resolve().is_relative_to(proof.scratch.folder.resolve()):
                shared.append(str(path))
        return shared

    assert prove(living, look=look).seen == []


def test_scratch_listens_on_no_network_and_knows_no_archive(living: OwnCluster) -> None:
    def look(proof: Any) -> tuple[list[Any], set[str], int]:
        postmaster = psutil.Process(int((proof.scratch.data / "postmaster.pid").read_text().split()[0]))
        titles: set[str] = set()
        for process in postmaster.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # a backend may end between two looks
                titles.update(" ".join(process.cmdline()).split())
        assert "startup" in titles
        inet = postmaster.net_connections(kind="inet")  # a listening socket is the postmaster's
        return inet, titles & {"archiver", "walreceiver", "autovacuum"}, proof.scratch.socket.stat().st_mode & 0o777

    assert prove(living, look=look).seen == ([], set(), 0o700)


def test_nothing_is_left_after_a_verification(living: OwnCluster) -> None:
    held: list[Path] = []

    def look(proof: Any) -> None:
        held.extend([proof.scratch.folder, proof.scratch.socket])

    prove(living, look=look)
    assert held and [path for path in held if path.exists()] == []


def test_scratch_is_gone_though_a_step_failed(living: OwnCluster) -> None:
    held: list[Any] = []

    def look(proof: Any) -> None:
        held.append(proof.scratch.folder)
        held.append(psutil.Process(int((proof.scratch.data / "postmaster.pid").read_text().split()[0])))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prove(living, look=look)
    assert not held[0].exists()
    assert not held[1].is_running() or held[1].status() == psutil.STATUS_ZOMBIE
