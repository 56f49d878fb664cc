"""Clusters that the product has never seen: made by initdb in a home of their own, described by a params file alone."""

from __future__ import annotations

import getpass
import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from homes import at_home, copy_tree, make_home, open_folder
from runbook.outside import commands
from runbook.outside.commands import OsUser
from runbook.params import load_params
from runbook.params.schema import Params
from runbook.postgres import server
from runbook.postgres.connect import quote
from runbook.postgres.osuser import give, service_user
from runbook.postgres.tools import Tools, find_tools
from runbook.postgres.wal import parse_lsn
from runbook.verification.fence import take_fence
from runbook.verification.fencefile import Fence

PORT = 5432


@dataclass
class OwnCluster:
    """A cluster in `home`: data/, archive/, backups/, tablespaces/, params/own.yaml.

    `changed` are keys of the params file, by section, that differ from the plain ones.
    """

    home: Path
    tools: Tools
    user: OsUser | None
    superuser: str = "postgres"
    socket: Path | None = None
    changed: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def archive(self) -> Path:
        return self.home / "archive"

    @property
    def backups(self) -> Path:
        return self.home / "backups"

    @property
    def log(self) -> Path:
        return self.home / "log" / "server.log"

    # -- its life

    def run(self, program: str, *words: str, timeout: float = 120) -> str:
        return commands.run([self.tools.path(program), *words], timeout=timeout, user=self.user).stdout

    def init(self, *words: str, **settings: str) -> None:
        for name in ("archive", "backups", "tablespaces", "log"):
            (self.home / name).mkdir(mode=0o755)
            give(self.home / name, self.user)
        give(self.home, self.user)
        self.run(
            "initdb", "-D", str(self.data), "-U", self.superuser, "-A", "trust", "--no-sync", "-E", "UTF8",
            "--locale=C", *words,
        )  # fmt: skip
        wanted = {
            "listen_addresses": "",
            "archive_mode": "on",
            "archive_command": f"test ! -f {self.archive}/%f && cp %p {self.archive}/.%f && mv {self.archive}/.%f {self.archive}/%f",
            "fsync": "off",
            "shared_buffers": "32MB",
            "max_wal_size": "256MB",
            "autovacuum": "off",
            "log_timezone": "UTC",
            "max_prepared_transactions": "5",
            **settings,
        }
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.writelines("{} = '{}'\n".format(name, value.replace("'", "''")) for name, value in wanted.items())

    def start(self) -> None:
        self.socket = server.make_socket_folder(self.user)
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(f"unix_socket_directories = '{self.socket}'\n")
        server.start(self.tools, self.data, log=self.log, user=self.user)
        secret = self.home / "connection"
        secret.write_text(f"host={self.socket} port={PORT} user='{self.superuser}' dbname=postgres\n")
        secret.chmod(0o600)

    def stop(self, mode: str = "fast") -> None:
        server.stop(self.tools, self.data, user=self.user, mode=mode)
        if self.socket is not None:
            shutil.rmtree(self.socket, ignore_errors=True)
            self.socket = None

    # -- what is in it

    def connect(self, database: str = "postgres", **given: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self.socket), port=PORT, user=self.superuser, dbname=database, autocommit=True, **given
        )

    def sql(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """The statements have run, one transaction each; the last one's rows."""
        with self.connect(database) as connection:
            cursor = None
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor is not None and cursor.description else []

    def create_database(self, name: str, *statements: str) -> None:
        """The database is there with amcheck, without which nobody can look at its pages."""
        self.sql(f"CREATE DATABASE {quote(name)}")
        self.sql("CREATE EXTENSION amcheck", *statements, database=name)

    def lsn(self) -> str:
        return str(self.sql("SELECT pg_current_wal_insert_lsn()::text")[0][0])

    def now(self) -> datetime:
        moment: datetime = self.sql("SELECT clock_timestamp()")[0][0]
        return moment

    def switch(self) -> str:
        """All that was written so far is archived; the last segment's name."""
        self.sql("SELECT pg_logical_emit_message(false, 'test', 'so that a segment is archived')")
        name = str(self.sql("SELECT pg_walfile_name(pg_switch_wal())")[0][0])
        deadline = time.monotonic() + 30
        while not (self.archive / name).exists():
            assert time.monotonic() < deadline, f"{name} was not archived: {server.log_tail(self.log)}"
            time.sleep(0.02)
        return name

    def backup(self, name: str, *words: str, into: Path | None = None) -> Path:
        """A base backup, in backups/ unless told otherwise."""
        folder = into or self.backups / name
        words = words if any(word.startswith(("-X", "--wal-method")) for word in words) else ("-Xnone", *words)
        quick = ("-c", "fast", "--no-sync", "--no-password")
        conninfo = f"host={self.socket} port={PORT} user='{self.superuser}' dbname=postgres"
        self.run("pg_basebackup", "-d", conninfo, "-D", str(folder), *quick, *words)
        return folder

    def fence(self) -> Fence:
        with at_home(self.home):
            return take_fence(self.params(), archive_timeout=30)

    # -- as params see it

    def params(self, **changed: dict[str, Any]) -> Params:
        """What params/own.yaml says, written anew. `cluster={"os_user": None}` takes a key away."""
        text: dict[str, Any] = {
            "target": "own",
            "environment": "staging",
            "platform": "cluster",
            "cluster": {
                "data_directory": "data",
                "bin_directory": str(self.tools.bin),
                "backup_folder": "backups",
                "wal_archive": {"directory": "archive"},
                "connection": {"file": "connection"},
                "superuser": self.superuser,
            },
            "budgets": {"rto": "30 min", "rpo": "24 h", "source": "this test"},
            "verification": {"replay_stall_timeout": "20 s"},
        }
        for given in (self.changed, changed):
            for section, values in given.items():
                text[section] = {**text.get(section, {}), **values}
        for section, values in text.items():
            if isinstance(values, dict):
                text[section] = {key: value for key, value in values.items() if value is not None}
        with at_home(self.home):
            (self.home / "params" / "own.yaml").write_text(json.dumps(text))
            return load_params("own")

    def copy(self, home: Path, *, with_data: bool = False) -> OwnCluster:
        """The stopped cluster's backups, archive and fences once more, to damage; its data only when asked."""
        home.mkdir(mode=0o755)
        home.chmod(0o755)
        names = ["params", "archive", "backups", "log", "tablespaces", "connection", *(["data"] if with_data else [])]
        for name in names:
            if (self.home / name).exists():
                copy_tree(self.home / name, home / name)
        give(home, self.user)
        changed = self.changed if with_data else {**self.changed, "cluster": {"data_directory": None}}
        return OwnCluster(home, self.tools, self.user, self.superuser, None, changed)


@contextmanager
def own_cluster(
    *words: str,
    major: int = 17,
    superuser: str = "postgres",
    settings: dict[str, str] | None = None,
    start: bool = True,
) -> Iterator[OwnCluster]:
    """A running cluster of that major version, gone at the end.

    Args:
        words: for initdb.
        settings: for postgresql.conf.
    """
    with open_folder() as folder:
        user = service_user()
        cluster = OwnCluster(make_home(folder / "home"), find_tools(major, user=user), user, superuser)
        cluster.init(*words, **(settings or {}))
        try:
            if start:
                cluster.start()
            yield cluster
        finally:
            cluster.stop("immediate")


def segments(cluster: OwnCluster) -> list[Path]:
    """Archived segments, oldest first."""
    return sorted(path for path in cluster.archive.iterdir() if len(path.name) == 24)


def write_script(path: Path, text: str) -> list[str]:
    """An executable shell script; its argv."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return [str(path)]


def service_words(cluster: OwnCluster, place: Path) -> dict[str, Any]:
    """pg_ctl as a service manager's commands, without a log file: the server keeps their output open."""
    given = f"setpriv --reuid={cluster.user.uid} --regid={cluster.user.gid} --clear-groups" if cluster.user else ""
    program = f"{given} {cluster.tools.path('pg_ctl')} -D {cluster.data} -w"
    env = f"env > {place}/environment"
    return {
        "start": write_script(place / "start", f"{env}; {program} start"),
        "stop": write_script(place / "stop", f"{program} -m fast stop || ! {program} status"),
    }


def as_service_user(cluster: OwnCluster, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """The command as whoever runs the cluster."""
    name = cluster.user.name if cluster.user else getpass.getuser()
    return subprocess.run(argv, check=True, capture_output=True, text=True, user=name if cluster.user else None)


def position(lsn: str) -> int:
    return parse_lsn(lsn)
