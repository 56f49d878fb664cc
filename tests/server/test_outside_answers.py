"""How PostgreSQL's programs end: a failure of theirs is no empty answer, and none of their normal ends is a failure."""

from __future__ import annotations

from pathlib import Path

import pytest
from homes import at_home
from own_cluster import OwnCluster, own_cluster, segments, write_script
from runbook.errors import CommandFailed
from runbook.platforms.cluster import service
from runbook.platforms.cluster.backups import describe
from runbook.postgres import server
from runbook.postgres.tools import Tools, read_control
from runbook.postgres.wal import segment_start
from runbook.postgres.waldump import read_records, waldump_complaint
from runbook.verification.integrity import check_manifest
from shop import flip

pytestmark = [pytest.mark.server, pytest.mark.faults]


def replaced(cluster: OwnCluster, folder: Path, program: str, script: str) -> Tools:
    """The programs, of which one is that script."""
    folder.mkdir()
    for path in cluster.tools.bin.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / program).unlink()
    write_script(folder / program, script)
    return Tools(folder, cluster.tools.major)


def test_programs_that_fail_are_not_taken_for_an_answer(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with own_cluster() as cluster:
        cluster.switch()
        folder = cluster.backup("first")
        backup = describe(folder)
        segment = segments(cluster)[-1]
        timeline, begin = segment_start(segment.name, 16 << 20)

        def read(tools: Tools) -> str:
            *_, said = read_records(
                tools, cluster.archive, timeline, begin, begin + (16 << 20), rmgrs=("Transaction",), timeout=30
            )
            assert isinstance(said, str)
            return said

        assert read(cluster.tools) == ""
        for number, script in enumerate(
            (
                "kill -9 $$",
                "exit 3",
                "exit 1",
                "echo 'pg_waldump: error: could not open file: Permission denied' >&2; exit 1",
            )
        ):
            with pytest.raises(CommandFailed, match="says nothing about the WAL"):
                read(replaced(cluster, tmp_path / f"bin{number}", "pg_waldump", script))
        killed = replaced(cluster, tmp_path / "killed", "pg_verifybackup", "kill -9 $$")
        assert check_manifest(killed, backup, folder, None, 30).status == "UNKNOWN"
        assert check_manifest(cluster.tools, backup, folder, None, 30).status == "PASS"

        control = folder / "global" / "pg_control"
        assert read_control(cluster.tools, folder)["Database system identifier"]
        flip(control, 60)
        with pytest.raises(CommandFailed, match="is damaged"):
            read_control(cluster.tools, folder)

        assert server.is_running(cluster.tools, cluster.data, user=cluster.user)
        cannot_tell = replaced(cluster, tmp_path / "ctl", "pg_ctl", "exit 4")
        with pytest.raises(CommandFailed, match="cannot tell"):
            server.is_running(cannot_tell, cluster.data, user=None)
        cluster.stop()
        assert not server.is_running(cluster.tools, cluster.data, user=cluster.user)


@pytest.mark.parametrize(("code", "running"), [(0, True), (3, False), (1, False), (4, None), (127, None)])
def test_status_command_says_not_running_by_its_own_codes_only(tmp_path: Path, code: int, running: bool | None) -> None:
    with own_cluster(start=False) as cluster:
        argv = write_script(tmp_path / "status", f"exit {code}")
        params = cluster.params(cluster={"data_directory": None, "service": {"status": argv}}).cluster
        assert params is not None
        with at_home(cluster.home):
            if running is None:
                with pytest.raises(CommandFailed, match="cannot tell"):
                    service.is_running(params)
            else:
                assert service.is_running(params) is running


def test_every_normal_end_of_pg_waldump_is_one() -> None:
    assert waldump_complaint(0, "") == ""
    for said in (
        "pg_waldump: error: could not find a valid record after 0/5000028",
        "pg_waldump: error: error in WAL record at 0/40001A8: invalid record length at 0/40001D0: expected at least 24, got 0",
        'pg_waldump: error: could not find file "000000010000000000000009": No such file or directory',
    ):
        assert waldump_complaint(1, f"some words\n{said}\n") == said
    for code, said in (
        (-9, ""),
        (1, ""),
        (2, "usage"),
        (1, "pg_waldump: error: could not read file: Input/output error"),
    ):
        with pytest.raises(CommandFailed):
            waldump_complaint(code, said)
