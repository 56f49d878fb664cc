"""A healthy backup raises no alarm, however it was taken and its WAL is kept: params alone describe it."""

from __future__ import annotations

from typing import Any

import pytest
from own_cluster import OwnCluster, own_cluster, segments, write_script
from proof import ask, assert_passes, prove
from runbook import clock
from runbook.postgres.osuser import give
from runbook.postgres.wal import parse_lsn
from shop import add_mark, fill, go_on

pytestmark = [pytest.mark.server, pytest.mark.faults]
MARKS = ask("SELECT count(*) FROM mark")


@pytest.mark.parametrize(
    "words",
    [
        ("-Ft", "-Xnone"),
        ("-Ft", "-Xfetch"),
        ("-Ft", "-Xstream"),
        ("-Ft", "-z", "-Xnone"),
        ("-Ft", "-Z", "server-gzip:1", "-Xfetch"),
        ("-Ft", "-Z", "server-zstd", "-Xnone"),
        ("-Ft", "-Z", "server-lz4", "-Xnone"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("knows_data", [True, False], ids=["data known", "data unknown"])
def test_tar_backup_with_a_tablespace_passes(words: tuple[str, ...], knows_data: bool) -> None:
    with own_cluster("--data-checksums", "--wal-segsize=1") as cluster:
        place = give(_made(cluster, "space"), cluster.user)
        fill(cluster)
        cluster.sql(f"CREATE TABLESPACE apart LOCATION '{place}'")
        cluster.sql("CREATE TABLE far TABLESPACE apart AS SELECT generate_series(1, 5000) AS id", database="shop")
        cluster.backup("first", *words)
        go_on(cluster)
        # Python cannot look into these, so something else must say which version made them.
        if not knows_data and not {"server-zstd", "server-lz4"} & set(words):
            cluster.changed["cluster"] = {"data_directory": None}
        assert_passes(prove(cluster, look=MARKS))


def _made(cluster: OwnCluster, name: str) -> Any:
    folder = cluster.home / "tablespaces" / name
    folder.mkdir(mode=0o700)
    return folder


def test_plain_backup_with_tablespaces_passes_and_stays_inside_the_scratch() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        names = ("one", "two words")
        mapping = []
        for name in names:
            place = give(_made(cluster, name), cluster.user)
            cluster.sql(f"CREATE TABLESPACE \"{name}\" LOCATION '{place}'")
            cluster.sql(
                f'CREATE TABLE "in {name}" TABLESPACE "{name}" AS SELECT generate_series(1, 999)', database="shop"
            )
            mapping.append(f"--tablespace-mapping={place}={cluster.backups}/ts-{name}")
        cluster.backup("first", *mapping)
        cluster.sql('INSERT INTO "in one" VALUES (1)', database="shop")
        go_on(cluster)
        links: list[str] = []

        def look(proof: Any) -> int:
            links.extend(str(path.resolve()) for path in (proof.scratch.data / "pg_tblspc").iterdir())
            assert all(link.startswith(str(proof.scratch.folder)) for link in links)
            return len(links)

        assert_passes(prove(cluster, look=look), 2)


@pytest.mark.parametrize("wal", ["-Xnone", "-Xstream", "-Xfetch"])
def test_folder_that_is_itself_one_backup_passes(wal: str) -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("", wal)
        go_on(cluster)
        assert_passes(prove(cluster, look=MARKS))
        cluster.run("pg_verifybackup", "-n", str(cluster.backups))


def test_newest_backup_that_reaches_the_point_is_chosen() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("monday")
        add_mark(cluster, 1)
        cluster.fence()
        cluster.sql("SELECT pg_sleep(1.1)")
        two = add_mark(cluster, 2)
        cluster.sql("SELECT pg_sleep(1.1)")
        cluster.backup("tuesday")
        cluster.fence()
        three = add_mark(cluster, 3)
        add_mark(cluster, 4)
        cluster.switch()
        for point, backup, seen in (
            ("latest", "tuesday", 4),
            (clock.stamp(three.after_at), "tuesday", 3),
            (clock.stamp(two.after_at), "monday", 2),
            (two.before, "monday", 1),
        ):
            outcome = prove(cluster, look=MARKS, recovery_point=point)
            assert (outcome.verdict, outcome.alarms, outcome.backup, outcome.seen) == ("PASS", [], backup, seen)
            assert outcome.check("fence@shop").status == "PASS"


def test_archive_compressed_in_part_passes_by_a_fetch_command() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("first")
        go_on(cluster)
        cluster.stop()
        pack = {0: ["gzip", "-1", "-n"], 1: ["zstd", "-q", "--rm"], 2: None}
        for number, path in enumerate(segments(cluster)):
            argv = pack[number % 3]
            if argv:
                _run([*argv, str(path)])
        script = cluster.home / "fetch"
        folder = cluster.archive
        argv = write_script(
            script,
            f'if [ -f "{folder}/$1" ]; then exec cp "{folder}/$1" "$2"; fi\n'
            f'if [ -f "{folder}/$1.gz" ]; then exec gzip -dc < "{folder}/$1.gz" > "$2"; fi\n'
            f'if [ -f "{folder}/$1.zst" ]; then exec zstd -dqc "{folder}/$1.zst" > "$2"; fi\n'
            "exit 1",
        )
        archive = {"fetch_command": [*argv, "%f", "%p"]}
        assert_passes(prove(cluster, cluster.params(cluster={"wal_archive": archive}), look=MARKS))
        listed = archive | {
            "list_command": write_script(cluster.home / "list", f'ls "{folder}" | sed "s/[.]gz$//; s/[.]zst$//"')
        }
        assert_passes(prove(cluster, cluster.params(cluster={"wal_archive": listed}), look=MARKS))


def _run(argv: list[str]) -> None:
    import subprocess

    subprocess.run(argv, check=True)


def test_archive_with_other_files_beside_the_segments_passes() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("first")
        go_on(cluster)
        last = segments(cluster)[-1]
        for name in ("README", "archtemp.1234", last.name + ".partial", ".hidden", "00000001.history.bak"):
            (cluster.archive / name).write_text("not WAL")
        (cluster.archive / "lost+found").mkdir()
        (cluster.backups / "lost+found").mkdir()
        assert_passes(prove(cluster, look=MARKS))


def test_backup_with_its_own_wal_passes() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("first", "-Xstream")
        go_on(cluster)
        assert_passes(prove(cluster, look=MARKS))


def test_backup_taken_from_a_standby_passes() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        standby = OwnCluster(cluster.home.parent / "standby", cluster.tools, cluster.user)
        standby.home.mkdir(mode=0o755)
        for name in ("archive", "backups", "log", "tablespaces"):
            (standby.home / name).mkdir(mode=0o755)
            give(standby.home / name, standby.user)
        give(standby.home, standby.user)
        cluster.backup("", "-R", "-Xstream", into=standby.data)
        standby.start()
        try:
            cluster.sql("INSERT INTO mark VALUES (0)", database="shop")
            cluster.sql("CHECKPOINT")
            target = parse_lsn(cluster.lsn())
            while parse_lsn(standby.sql("SELECT pg_last_wal_replay_lsn()::text")[0][0]) < target:
                cluster.sql("SELECT pg_sleep(0.1)")
            standby.sql("CHECKPOINT")
            standby.backup("from standby", into=cluster.backups / "from standby")
        finally:
            standby.stop("immediate")
        go_on(cluster)
        outcome = prove(cluster, look=MARKS)
        assert_passes(outcome, 3)


def test_backup_by_the_low_level_api_lacks_nothing_but_its_manifest() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        folder = cluster.backups / "by hand"
        with cluster.connect() as connection:
            connection.execute("SELECT pg_backup_start('by hand', true)")
            _run(["cp", "-a", str(cluster.data), str(folder)])
            found = connection.execute("SELECT labelfile FROM pg_backup_stop()").fetchone()
        for path in (folder / "pg_wal").iterdir():
            if path.is_file():
                path.unlink()
        (folder / "postmaster.pid").unlink()
        (folder / "backup_label").write_text(found[0])
        go_on(cluster)
        outcome = prove(cluster, look=MARKS)
        assert [item.split(":")[0] for item in outcome.alarms] == ["manifest"]
        assert (outcome.verdict, outcome.seen) == ("INCOMPLETE", 2)


def test_link_to_the_newest_backup_does_no_harm() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("monday")
        (cluster.backups / "latest").symlink_to("monday")
        (cluster.backups / "dangling").symlink_to("sunday")
        go_on(cluster)
        assert_passes(prove(cluster, look=MARKS))
