"""Who runs a scratch server, and what we do in folders that belong to that user."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from homes import at_home, make_home
from runbook.cli import doctor
from runbook.errors import OperatorError, RecoveryRefused
from runbook.outside.commands import OsUser
from runbook.platforms.cluster.datafolder import find_planted, link_in, opened, read_in, replacing
from runbook.postgres import osuser

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can use another user")
PRODUCTION = OsUser("nobody", 65534, 65534)


def test_only_root_can_use_another_user_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    user, limitation = osuser.scratch_user("postgres", None, (), "run")
    assert user is None
    assert (
        limitation == "The scratch server ran as user nobody, as this run did: only root can start it as another user."
    )


@as_root
def test_user_without_an_account_is_taken_when_params_name_none() -> None:
    first, limitation = osuser.scratch_user(None, PRODUCTION, {PRODUCTION.uid}, "run")
    assert first is not None and limitation is None
    assert osuser.is_unassigned(first.uid)
    second, _ = osuser.scratch_user(None, PRODUCTION, {PRODUCTION.uid, first.uid}, "run")
    assert second is not None and second.uid != first.uid


@as_root
@pytest.mark.parametrize(
    ("named", "said"), [("nobody-has-this", "There is no operating-system user"), ("root", "scratch_user is root")]
)
def test_named_user_who_cannot_run_a_server_is_refused_with_the_command_that_makes_one(named: str, said: str) -> None:
    with pytest.raises(OperatorError, match=said) as caught:
        osuser.scratch_user(named, PRODUCTION, {PRODUCTION.uid}, "run")
    assert caught.value.next is not None and caught.value.next.startswith("useradd --system ")


@as_root
def test_doctor_warns_when_the_scratch_user_owns_files_of_production(tmp_path: Path) -> None:
    with at_home(make_home(tmp_path / "home")) as _:
        path = tmp_path / "home" / "params" / "sandbox.yaml"
        text = path.read_text()
        fine = [finding for finding in doctor._scratch_users() if "sandbox" in finding.what]
        path.write_text(text.replace("verification:\n", "verification:\n  scratch_user: nobody\n"))
        path.write_text(path.read_text().replace("cluster:\n", "cluster:\n  os_user: nobody\n", 1))
        ill = [finding for finding in doctor._scratch_users() if "sandbox" in finding.what]
    assert [finding.fine for finding in fine] == [True]
    assert [(finding.fine, finding.next.split(" ")[0]) for finding in ill] == [(False, "useradd")]
    assert "who owns files of production" in ill[0].what


def test_each_kind_of_planted_file_is_found(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "base" / "1").mkdir(parents=True)
    (data / "pg_tblspc").mkdir()
    for name in ("1", "linked", "suid"):
        (data / "base" / "1" / name).write_bytes(b"x")
    (data / "pg_tblspc" / "16384").symlink_to(tmp_path)
    (data / "pg_tblspc" / "16385").symlink_to("/")
    (data / "base" / "2").symlink_to("/etc")
    (tmp_path / "outside").hardlink_to(data / "base" / "1" / "linked")
    (data / "base" / "1" / "suid").chmod(0o4755)
    os.mkfifo(data / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(data)
        listening.bind("socket")
        found = find_planted(data, ["pg_tblspc/16384"])
    os.chdir("/")
    assert sorted(found) == [
        "base/1/linked: a file with 2 names (hard links)",
        "base/1/suid: a file that runs as its owner or group",
        "base/2: a symbolic link",
        "pg_tblspc/16385: a symbolic link",
        "pipe: a device, a pipe or a socket",
        "socket: a device, a pipe or a socket",
    ]


def test_no_write_and_no_read_follows_a_planted_link(tmp_path: Path) -> None:
    data, outside = tmp_path / "data", tmp_path / "outside"
    data.mkdir()
    outside.mkdir()
    (outside / "file").write_text("theirs")
    for name in ("a", "a.new", "b", "b.new"):
        (data / name).symlink_to(outside / "file")
    with opened(data) as folder:
        with replacing(folder, "a", None) as file:
            file.write(b"ours")
        link_in(folder, "b", Path("target"))
    assert (outside / "file").read_text() == "theirs"
    assert (read_in(data, "a"), (data / "b").readlink()) == (b"ours", Path("target"))
    (data / "pg_wal").symlink_to(outside)
    os.mkfifo(data / "pipe")
    for names in (("pg_wal", "file"), ("pipe",)):
        with pytest.raises(RecoveryRefused, match="was altered while its server ran"):
            read_in(data, *names)
    with pytest.raises(FileNotFoundError):
        read_in(data, "none")
