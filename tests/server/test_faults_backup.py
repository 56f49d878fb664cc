"""Damage to a base backup, file by file: named before a server starts on it, and never a pass."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from own_cluster import own_cluster
from proof import ask, prove
from runbook.errors import BackupDamaged, TargetOutsideWindow
from shop import PAGE, Shop, fill, flip, forget_manifest, go_on, read_page, write_page

pytest_plugins = ("shop_fixtures",)
pytestmark = [pytest.mark.server, pytest.mark.faults]


def test_swapped_heap_pages_are_found(shop: Shop) -> None:
    path = shop.file("quiet")
    one, two = read_page(path, 4), read_page(path, 5)
    write_page(path, 4, two)
    write_page(path, 5, one)
    outcome = prove(shop.cluster)
    assert outcome.check("manifest").status == "FAIL" and shop.files["quiet"] in outcome.said


def test_truncated_heap_file_is_found(shop: Shop) -> None:
    with shop.file("quiet").open("r+b") as file:
        file.truncate(2 * PAGE)
    outcome = prove(shop.cluster)
    assert outcome.check("manifest").status == "FAIL" and "size" in outcome.said


def test_corrupt_control_file_is_found(shop: Shop) -> None:
    flip(shop.backup / "global" / "pg_control", 40)
    outcome = prove(shop.cluster)
    assert outcome.verdict == "FAIL" and "pg_control" in outcome.said


def test_extra_file_is_found(shop: Shop) -> None:
    (shop.backup / "base" / "left-behind").write_text("x")
    outcome = prove(shop.cluster)
    assert outcome.check("manifest").status == "FAIL"
    assert "left-behind" in outcome.said and "not in the manifest" in outcome.said


@pytest.mark.parametrize("word", ["Checksum", "Size", "WAL-Ranges", "Start-LSN", "Files"])
def test_edited_manifest_is_found(shop: Shop, word: str) -> None:
    path = shop.backup / "backup_manifest"
    path.write_text(path.read_text().replace(f'"{word}"', f'"{word[::-1]}"', 1))
    outcome = prove(shop.cluster)
    assert outcome.verdict == "FAIL" and "manifest" in outcome.said


def test_manifest_with_another_checksum_for_a_file_is_found(shop: Shop) -> None:
    path = shop.backup / "backup_manifest"
    wanted = json.loads(path.read_text())["Files"][3]["Checksum"]
    path.write_text(path.read_text().replace(wanted, "0" * len(wanted), 1))
    outcome = prove(shop.cluster)
    assert outcome.check("manifest").status == "FAIL" and "checksum" in outcome.said


@pytest.mark.parametrize("left", [0, 100, 5000])
def test_torn_manifest_is_found(shop: Shop, left: int) -> None:
    path = shop.backup / "backup_manifest"
    path.write_bytes(path.read_bytes()[:left])
    outcome = prove(shop.cluster)
    assert outcome.verdict == "FAIL" and "manifest" in outcome.said


@pytest.mark.parametrize("content", [b"", b"seventeen\n", b"\xff\xfe"])
def test_garbled_version_file_is_found(shop: Shop, content: bytes) -> None:
    (shop.backup / "PG_VERSION").write_bytes(content)
    outcome = prove(shop.cluster)
    assert outcome.verdict == "FAIL" and "PG_VERSION" in outcome.said


@pytest.mark.parametrize("content", [b"", b"START WAL LOCATION: nowhere\n", b"\xff\xfe\0"])
def test_garbled_label_without_manifest_is_found(shop: Shop, content: bytes) -> None:
    (shop.backup / "backup_manifest").unlink()
    (shop.backup / "backup_label").write_bytes(content)
    outcome = prove(shop.cluster)
    assert outcome.verdict == "FAIL" and "first" in outcome.said and "backup_label" in outcome.said


def test_label_of_an_earlier_start_is_found(shop: Shop) -> None:
    label = shop.backup / "backup_label"
    label.write_text(label.read_text().replace("START WAL LOCATION: 0/", "START WAL LOCATION: 1/"))
    outcome = prove(shop.cluster)
    assert outcome.verdict == "FAIL" and "backup_label" in outcome.said


@pytest.mark.parametrize("name", ["pg_xact/0000", "global/pg_filenode.map"])
def test_missing_transaction_status_or_map_is_found(shop: Shop, name: str) -> None:
    (shop.backup / name).unlink()
    outcome = prove(shop.cluster)
    assert outcome.check("manifest").status == "FAIL" and name in outcome.said


#: Files whose absence a manifest made afterwards would agree with; what else tells, and a word of it.
FORGOTTEN = {
    "backup_label": "backup_label",
    "PG_VERSION": "PG_VERSION",
    "global/pg_control": "pg_control",
    "global/pg_filenode.map": "pg_filenode.map",
    "pg_xact/0000": "shop",
    "quiet": "quiet",
    "quiet_pkey": "quiet_pkey",
    "item": "rows are missing",
}


@pytest.mark.parametrize("has_manifest", [True, False])
@pytest.mark.parametrize("name", FORGOTTEN)
def test_file_that_the_manifest_has_forgotten_is_missed(shop: Shop, name: str, has_manifest: bool) -> None:
    (shop.backup / shop.files.get(name, name)).unlink()
    if has_manifest:
        forget_manifest(shop.backup)
    else:
        (shop.backup / "backup_manifest").unlink()
    outcome = prove(shop.cluster, shop.cluster.params(verification={"replay_stall_timeout": "3 s"}))
    assert outcome.verdict != "PASS"
    assert FORGOTTEN[name] in outcome.said


def test_missing_tablespace_of_a_backup_is_found(shop: Shop) -> None:
    (shop.backup / "pg_tblspc" / "99999").symlink_to(shop.cluster.home / "gone")
    outcome = prove(shop.cluster)
    assert isinstance(outcome.error, BackupDamaged) and "99999" in outcome.said


def test_page_damage_that_the_manifest_has_hashed_is_found(shop: Shop) -> None:
    """Production was corrupt before the backup was taken: the manifest agrees with the damage."""
    flip(shop.file("quiet"), 5 * PAGE + 7000)
    forget_manifest(shop.backup)
    outcome = prove(shop.cluster)
    assert outcome.check("manifest").status == "PASS"
    assert outcome.check("fence@shop").status == "FAIL"
    assert outcome.check("read@shop").status == "FAIL" and "invalid page" in outcome.said
    assert outcome.check("amcheck@shop").status == "FAIL" and "quiet" in outcome.said


def test_index_damage_that_the_manifest_has_hashed_is_found(shop: Shop) -> None:
    flip(shop.file("quiet_pkey"), 3 * PAGE + 4000)
    forget_manifest(shop.backup)
    outcome = prove(shop.cluster)
    assert outcome.check("manifest").status == "PASS" and outcome.check("fence@shop").status == "PASS"
    check = outcome.check("amcheck@shop")
    assert check.status == "FAIL" and "quiet_pkey" in (check.reason or "") and "older" in (check.next or "")


def test_lost_rows_that_the_manifest_has_hashed_are_found_by_the_fence_alone(shop: Shop) -> None:
    write_page(shop.file("quiet"), 3, bytes(PAGE))
    forget_manifest(shop.backup)
    outcome = prove(shop.cluster)
    check = outcome.check("fence@shop")
    assert check.status == "FAIL" and "quiet" in (check.reason or "") and "rows are missing" in (check.reason or "")


def test_index_that_lost_entries_without_checksums_is_found() -> None:
    with own_cluster() as cluster:
        assert cluster.sql("SHOW data_checksums") == [("off",)] or cluster.sql("ALTER SYSTEM SET fsync = off") == []
        fill(cluster)
        path = str(cluster.sql("SELECT pg_relation_filepath('quiet_pkey')", database="shop")[0][0])
        cluster.stop()
        swapped = cluster.data / path
        one, two = read_page(swapped, 4), read_page(swapped, 5)
        write_page(swapped, 4, two)
        write_page(swapped, 5, one)
        cluster.start()
        cluster.backup("first")
        cluster.fence()
        cluster.switch()
        outcome = prove(cluster)
    assert outcome.check("manifest").status == "PASS" and outcome.check("fence@shop").status == "PASS"
    check = outcome.check("amcheck@shop")
    assert check.status == "FAIL" and "quiet_pkey" in (check.reason or "")


def test_backup_of_another_system_is_named(shop: Shop, pristine: Shop) -> None:
    with own_cluster() as other:
        other.sql("CREATE EXTENSION amcheck")
        other.backup("second")
        other.switch()
        outcome = prove(other, other.params(cluster={"backup_folder": str(shop.cluster.backups)}))
    assert outcome.verdict == "FAIL" and outcome.check("system").status == "FAIL"
    assert "backup_folder" in outcome.said


def test_backup_of_another_system_is_named_without_a_data_directory(shop: Shop) -> None:
    with own_cluster() as other:
        other.sql("CREATE EXTENSION amcheck")
        other.sql("CREATE TABLE t AS SELECT generate_series(1, 100000)")
        for number in range(8):
            other.sql(f"CREATE TABLE t{number} AS SELECT 1")
            other.switch()
        other.backup("later")
        other.switch()
        shutil.copytree(other.backups / "later", shop.cluster.backups / "later", symlinks=True)
    outcome = prove(shop.cluster)
    assert outcome.verdict != "PASS" and "later" in outcome.said


@pytest.mark.parametrize("name", ["nothing-in-it", "second.part", "20990101T000000Z.tmp"])
def test_unfinished_or_empty_folder_is_not_taken_for_a_backup(shop: Shop, name: str) -> None:
    folder = shop.cluster.backups / name
    if name.endswith(("part", "tmp")):
        shutil.copytree(shop.backup, folder, symlinks=True)
        (folder / "global" / "pg_control").unlink()
        outcome = prove(shop.cluster)
        assert (outcome.verdict, outcome.backup) == ("PASS", "first"), outcome.alarms
        assert any(name in said and "not finished" in said for said in outcome.limitations), outcome.limitations
    else:
        folder.mkdir()
        outcome = prove(shop.cluster)
        assert outcome.verdict == "FAIL" and name in outcome.said and "empty" in outcome.said


def test_folder_without_any_backup_says_so(shop: Shop) -> None:
    shutil.rmtree(shop.backup)
    outcome = prove(shop.cluster)
    assert isinstance(outcome.error, BackupDamaged) and "no base backup" in outcome.said


def test_missing_backup_folder_says_so(shop: Shop) -> None:
    outcome = prove(shop.cluster, shop.cluster.params(cluster={"backup_folder": "nowhere"}))
    assert isinstance(outcome.error, BackupDamaged) and "nowhere" in outcome.said


def _incremental(folder: Path) -> None:
    """What marks an incremental backup: a line of its label."""
    with (folder / "backup_label").open("a") as label:
        label.write("INCREMENTAL FROM LSN: 0/2000028\nINCREMENTAL FROM TLI: 1\n")
    forget_manifest(folder)


def test_incremental_backup_is_not_restored_as_if_it_were_whole(shop: Shop) -> None:
    shutil.copytree(shop.backup, shop.cluster.backups / "second", symlinks=True)
    _incremental(shop.cluster.backups / "second")
    outcome = prove(shop.cluster, look=ask("SELECT count(*) FROM mark"))
    assert (outcome.verdict, outcome.backup) == ("PASS", "first"), outcome.alarms
    assert any("second" in said and "incremental" in said for said in outcome.limitations), outcome.limitations


def test_incremental_backup_alone_is_refused_by_its_name(shop: Shop) -> None:
    _incremental(shop.backup)
    outcome = prove(shop.cluster)
    assert isinstance(outcome.error, TargetOutsideWindow)
    assert "incremental" in outcome.said and "pg_combinebackup" in outcome.said


@pytest.mark.parametrize("major", [15, 17])
@pytest.mark.parametrize("words", [("-Ft",), ("-Ft", "-z")], ids=" ".join)
@pytest.mark.parametrize("damage", ["none", "truncated"])
def test_newest_backup_in_tar_format_is_the_one_that_is_proven(major: int, words: tuple[str, ...], damage: str) -> None:
    """Before PostgreSQL 17 no manifest names its system: an older plain backup must not be taken in its place for that."""
    with own_cluster("--data-checksums", major=major) as cluster:
        fill(cluster)
        cluster.backup("older")
        cluster.sql("SELECT pg_sleep(1.1)")
        cluster.backup("newest", *words)
        go_on(cluster)
        archive = next((cluster.backups / "newest").glob("base.tar*"))
        if damage == "truncated":
            with archive.open("r+b") as file:
                file.truncate(archive.stat().st_size // 2)
        outcome = prove(cluster)
        if damage == "none":
            assert (outcome.verdict, outcome.backup, outcome.alarms) == ("PASS", "newest", [])
        else:
            assert outcome.verdict == "FAIL" and "newest" in outcome.said


@pytest.mark.parametrize(
    "words", [("-Ft",), ("-Ft", "-z", "-Xnone"), ("-Ft", "-z", "-Xstream"), ("-Xstream",)], ids=" ".join
)
def test_newest_backup_of_another_system_never_lets_the_older_one_pass_alone(words: tuple[str, ...]) -> None:
    with own_cluster("--data-checksums", major=15) as cluster, own_cluster("--data-checksums", major=15) as other:
        fill(cluster)
        cluster.backup("older")
        cluster.sql("SELECT pg_sleep(1.1)")
        other.sql("CREATE TABLE t AS SELECT generate_series(1, 100000) AS i")
        for _ in range(6):
            other.switch()
        other.backup("strange", *words, into=cluster.backups / "strange")
        go_on(cluster)
        outcome = prove(cluster)
        assert outcome.verdict != "PASS" and "strange" in outcome.said
        if words != ("-Ft", "-z", "-Xnone"):  # such a one says nothing of its system; the WAL that it needs is missed
            assert outcome.check("newest-backup").status == "UNKNOWN" and outcome.backup == "older"


def test_packed_backup_from_before_an_upgrade_does_no_harm() -> None:
    """It says nothing of its system, and stands later in WAL than the new cluster's own backup."""
    with own_cluster("--data-checksums", major=15) as old:
        old.sql("CREATE TABLE t AS SELECT generate_series(1, 100000) AS i")
        for _ in range(6):
            old.switch()
        with own_cluster("--data-checksums", major=17) as cluster:
            old.backup("old", "-Ft", "-z", into=cluster.backups / "old")
            old.sql("SELECT pg_sleep(1.1)")
            fill(cluster)
            cluster.backup("new")
            go_on(cluster)
            outcome = prove(cluster)
    assert (outcome.verdict, outcome.backup, outcome.alarms) == ("PASS", "new", [])


@pytest.mark.parametrize("layout", ["plain", "tar"])
def test_manifest_without_checksums_never_passes(layout: str) -> None:
    """A zeroed page of transaction status has its size, no page checksum, and stands in no fence."""
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("first", "--manifest-checksums=NONE", "--format", layout)
        go_on(cluster)
        outcome = prove(cluster)
    check = outcome.check("manifest")
    assert (outcome.verdict, check.status) == ("INCOMPLETE", "UNKNOWN"), outcome.alarms
    assert "no checksum" in (check.reason or "") and "sizes" in check.observed and "pg_xact" in (check.reason or "")
    assert outcome.check("fence@shop").status == "PASS"


def test_manifest_that_has_lost_one_checksum_never_passes(shop: Shop) -> None:
    forget_manifest(shop.backup)
    write_page(shop.backup / "pg_xact" / "0000", 0, bytes(PAGE))
    path = shop.backup / "backup_manifest"
    text = path.read_text()
    body = text.split('"Manifest-Checksum"')[0]
    lines = [
        re.sub(r', "Checksum-Algorithm": "SHA256", "Checksum": "[0-9a-f]+"', "", line)
        if "pg_xact/0000" in line
        else line
        for line in body.split("\n")
    ]
    body = "\n".join(lines)
    path.write_text(f'{body}"Manifest-Checksum": "{hashlib.sha256(body.encode()).hexdigest()}"}}\n')
    outcome = prove(shop.cluster)
    check = outcome.check("manifest")
    assert outcome.verdict != "PASS" and check.status == "UNKNOWN" and "pg_xact/0000" in (check.reason or ""), (
        outcome.alarms
    )


def test_packed_backup_of_another_system_is_found_out_before_a_server_starts_on_it() -> None:
    """It names no system, and the WAL of this cluster covers its positions."""
    with own_cluster("--data-checksums", major=15) as cluster, own_cluster("--data-checksums", major=15) as other:
        fill(cluster)
        cluster.backup("older")
        other.sql("SELECT pg_sleep(1.1)")
        for _ in range(3):
            other.switch()
        other.backup("strange", "-Ft", "-z", "-Xnone", into=cluster.backups / "strange")
        for _ in range(8):
            cluster.switch()
        go_on(cluster)
        outcome = prove(cluster)
    assert (outcome.verdict, outcome.backup) == ("FAIL", "strange"), outcome.alarms
    check = outcome.check("system")
    assert check.status == "FAIL" and "strange" in (check.reason or "") and "backup_folder" in (check.next or "")
    assert outcome.error is not None and "No server is started" in outcome.error.message
