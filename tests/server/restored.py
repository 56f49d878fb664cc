"""A copy of a cluster restored to a position, paused there, as a recovery would have it before promotion."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from homes import copy_tree, open_folder
from runbook.outside.commands import OsUser
from runbook.postgres import server
from runbook.postgres.connect import Connection, connect, one
from runbook.postgres.osuser import give
from runbook.postgres.tools import Tools
from runbook.postgres.wal import format_lsn

_PORT = 5432


class Restored:
    """A paused copy; `open` connects to one of its databases."""

    def __init__(self, socket: Path, superuser: str, log: Path) -> None:
        self.socket, self.superuser, self.log = socket, superuser, log

    def open(self, database: str, user: str | None = None) -> Connection:
        return connect(
            socket=self.socket,
            port=_PORT,
            database=database,
            user=user or self.superuser,
            application="test",
            statement_timeout=0,
        )

    def wait_until_paused(self) -> None:
        """The target is reached: connections are possible long before."""
        deadline = time.monotonic() + 60
        with self.open("postgres") as connection:
            while one(connection, "SELECT pg_get_wal_replay_pause_state() AS state")["state"] != "paused":
                assert time.monotonic() < deadline, "recovery did not reach its target"
                time.sleep(0.02)


@contextmanager
def restored(
    tools: Tools, user: OsUser | None, backup: Path, archive: Path, gate: int, superuser: str = "postgres"
) -> Iterator[Restored]:
    """The backup, recovered to just before the gate."""
    with open_folder() as folder:
        data = folder / "data"
        copy_tree(backup, data)
        give(folder, user)
        socket = server.make_socket_folder(user)
        (data / "recovery.signal").touch()
        with (data / "postgresql.auto.conf").open("a") as conf:
            conf.write(
                f"unix_socket_directories = '{socket}'\nport = {_PORT}\nlisten_addresses = ''\narchive_mode = off\n"
                f"restore_command = 'cp {archive}/%f %p'\nshared_preload_libraries = ''\nfsync = off\n"
                f"recovery_target_lsn = '{format_lsn(gate)}'\nrecovery_target_inclusive = off\n"
                "recovery_target_action = pause\nrecovery_target_timeline = current\n"
            )
        give(data / "recovery.signal", user)
        server.start(tools, data, log=folder / "log", user=user)
        try:
            copy = Restored(socket, superuser, folder / "log")
            copy.wait_until_paused()
            yield copy
        finally:
            server.stop(tools, data, user=user, mode="immediate")
            shutil.rmtree(socket, ignore_errors=True)
