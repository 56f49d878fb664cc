"""pg_hba.conf narrowed to one role: what let it in still does, in the same order, and nobody else comes in."""

from __future__ import annotations

from pathlib import Path

import pytest
from runbook.errors import OperatorError
from runbook.platforms.cluster.doors import Doors
from runbook.platforms.cluster.hbalines import Way, narrow, read_rules

LOCAL = Way("postgres", is_local=True, groups=frozenset(["dba"]))
REMOTE = Way("postgres", is_local=False, address="10.1.2.3", ssl=False, groups=frozenset())


def lines(tmp_path: Path, text: str, way: Way) -> tuple[str, ...]:
    path = tmp_path / "pg_hba.conf"
    path.write_text(text)
    return narrow(read_rules(path), way).lines


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("local all all trust", 'local all "postgres" trust'),
        ("local all all peer map=ops # why", 'local all "postgres" peer map=ops'),
        ("local all app trust", None),
        ('local all "all" trust', None),
        ("local shop,postgres app, postgres trust", 'local shop,postgres "postgres" trust'),
        ('local "my ""db" all trust', 'local "my ""db" "postgres" trust'),
        ("local all +dba trust", 'local all "postgres" trust'),
        ("local all +others trust", None),
        ('local all "/^post" trust', 'local all "postgres" trust'),
        ('local all "/^app" trust', None),
        ("local all \\\n all trust", 'local all "postgres" trust'),
        ('local all all ldap ldapprefix="cn=a b," ldapserver=x', 'local all "postgres" ldap "ldapprefix=cn=a b," ldapserver=x'),
        ("local replication all trust", 'local replication "postgres" trust'),
        ("host all all 0.0.0.0/0 trust", None),
        ("# local all all trust", None),
    ],
)  # fmt: skip
def test_local_line_is_narrowed_to_the_role(tmp_path: Path, line: str, kept: str | None) -> None:
    assert lines(tmp_path, line + "\n", LOCAL) == (() if kept is None else (kept,))


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("host all all 0.0.0.0/0 md5", 'host all "postgres" 10.1.2.3/32 md5'),
        ("host all all all md5", 'host all "postgres" 10.1.2.3/32 md5'),
        ("host all all 10.1.0.0 255.255.0.0 md5", 'host all "postgres" 10.1.2.3/32 md5'),
        ("host all all 10.2.0.0/16 md5", None),
        ("host all all ::/0 md5", None),
        ("host all all samenet md5", 'host all "postgres" samenet md5'),
        ("host all all .example.org md5", 'host all "postgres" .example.org md5'),
        ("hostssl all all all md5", None),
        ("hostnossl all all all md5", 'hostnossl all "postgres" 10.1.2.3/32 md5'),
        ("host all postgres 10.1.2.3/32 reject", 'host all "postgres" 10.1.2.3/32 reject'),
    ],
)
def test_network_line_is_narrowed_to_the_address(tmp_path: Path, line: str, kept: str | None) -> None:
    assert lines(tmp_path, line + "\n", REMOTE) == (() if kept is None else (kept,))


def test_included_files_count_where_they_are_included(tmp_path: Path) -> None:
    (tmp_path / "first.conf").write_text("local shop all peer\n")
    (tmp_path / "names").write_text("app\npostgres, other\n")
    (tmp_path / "more").mkdir()
    for name in ("b.conf", "a.conf", ".hidden.conf", "c.txt"):
        (tmp_path / "more" / name).write_text(f"local {name.strip('.')[0]} all trust\n")
    text = "include first.conf\ninclude_if_exists nothing\ninclude_dir more\nlocal all @names md5\ninclude gone\nlocal all\n"
    path = tmp_path / "pg_hba.conf"
    path.write_text(text)
    found = narrow(read_rules(path), LOCAL)
    assert [line.split('"')[0] + line.split()[-1] for line in found.lines] == [
        "local shop peer",
        "local a trust",
        "local b trust",
        "local all md5",
    ]
    assert [said.split(": ")[0] for said in found.left_out] == [f"{path}:5", f"{path}:6"]


def test_group_that_cannot_be_looked_up_is_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "pg_hba.conf"
    path.write_text("local all +ops trust\nlocal all all peer\n")
    found = narrow(read_rules(path), Way("postgres", is_local=True))
    assert found.lines == ('local all "postgres" peer',)
    assert found.left_out == (f"{path}:1: whether '+ops' holds postgres cannot be told",)


def test_files_of_a_stopped_cluster_are_closed_and_opened_as_the_very_same_file(tmp_path: Path) -> None:
    path = tmp_path / "pg_hba.conf"
    content = b"# caf\xe9\nlocal all all trust\nhost all all 0.0.0.0/0 md5\n"
    path.write_bytes(content)
    path.chmod(0o640)
    facts = path.stat()
    doors = Doors(path, "r1")
    for _ in range(2):
        closed = doors.close_file(Way("postgres", is_local=True))
        assert closed.lines == ('local all "postgres" trust',)
        assert doors.is_closed() and path.stat().st_mode == facts.st_mode
        assert "host all all all reject" in path.read_text()
    for _ in range(2):
        assert doors.open_file() is None
        after = path.stat()
        assert path.read_bytes() == content
        assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (facts.st_ino, facts.st_mode, facts.st_mtime_ns)
    assert [found.name for found in tmp_path.iterdir()] == ["pg_hba.conf"]


def test_closing_that_would_shut_us_out_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pg_hba.conf"
    path.write_text("local all postgres reject\nlocal replication postgres trust\nhost all all all trust\n")
    with pytest.raises(OperatorError, match="shut us out"):
        Doors(path, "r1").close_file(Way("postgres", is_local=True))
    assert [found.name for found in tmp_path.iterdir()] == ["pg_hba.conf"]


def test_what_was_written_into_a_closed_file_is_kept_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "pg_hba.conf"
    path.write_text("local all all trust\n")
    doors = Doors(path, "r1")
    doors.close_file(Way("postgres", is_local=True))
    path.write_text(path.read_text() + "# mine\n")
    assert not doors.is_closed()
    changed = doors.open_file()
    assert changed is not None and changed.read_text().endswith("# mine\n")
    assert path.read_text() == "local all all trust\n"


def test_file_that_another_run_closed_is_no_original(tmp_path: Path) -> None:
    path = tmp_path / "pg_hba.conf"
    path.write_text("local all all trust\n")
    Doors(path, "r1").close_file(Way("postgres", is_local=True))
    with pytest.raises(OperatorError, match="closed by run r1") as caught:
        Doors(path, "r2").close_file(Way("postgres", is_local=True))
    assert f"mv {path}.before-r1 {path}" in str(caught.value)
