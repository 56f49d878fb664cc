"""The copy that may become production: restored beside the damaged cluster, durable, and isolated until it is swapped in.

It is a scratch in all that keeps it from reaching out. It differs in what lasts: fsync is on, archiving is held and not off
(a promotion with archive_mode off never archives its history file), nobody reaps it, and what was done to it is written down beside it,
so that it survives a crash at any moment. It runs as production's user, whose its files must be once they are swapped in; in its
namespaces it sees neither production's files nor its socket (docs/decisions/0015-scratch-os-user.md).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from runbook import layout
from runbook.errors import OperatorError, PlatformError, RecoveryFailed, RecoveryRefused, ScratchFull
from runbook.outside.commands import OsUser
from runbook.params.schema import Cluster
from runbook.platforms.cluster.backups import Backup
from runbook.platforms.cluster.copying import remove_tree
from runbook.platforms.cluster.datafolder import opened
from runbook.platforms.cluster.movefirst import place_of
from runbook.platforms.cluster.replay import Replay, read_own_history
from runbook.platforms.cluster.restoring import close_off
from runbook.platforms.cluster.scratch import Scratch
from runbook.platforms.cluster.settings import held_settings
from runbook.postgres import server
from runbook.postgres.connect import literal, one, rows
from runbook.postgres.osuser import closed_at, owner_name
from runbook.postgres.sqlfiles import load_sql
from runbook.postgres.tools import Tools
from runbook.postgres.wal import format_lsn, same_position

STATE = "recovery.json"
#: Configuration files of the restored past, kept for whoever wants to look at them.
PAST_CONFIG = "restored-config"
_CONFIG = ("postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf")


def folder_beside(data_directory: Path, location: str | None, run_id: str) -> Path:
    """Where the copy stands: beside the live data directory, so that the swap is a rename, unless params name a place."""
    place = place_of(data_directory)
    return (layout.resolve(location) if location else place.parent) / f"{place.name}.recovery-{run_id}"


def aside_of(data_directory: Path, run_id: str) -> Path:
    """Where the damaged cluster is moved to by a swap. A data directory that is a link stays one."""
    place = place_of(data_directory)
    return place.with_name(f"{place.name}.damaged-{run_id}")


def is_swapped_in(folder: Path) -> bool:
    """True for the folder of a copy that stands in production's place: tablespaces that production uses may lie in it."""
    file = folder / STATE
    return file.is_file() and bool(json.loads(file.read_text("utf-8")).get("swapped"))


def _prepared_words(row: Mapping[str, Any]) -> str:
    return f"{row['gid']} in {row['database']}"


class Beside(Scratch):
    """A restored copy beside production. `folder` holds data/, wal/, tablespaces/, server.log and recovery.json."""

    @classmethod
    def open_or_create(
        cls, cluster: Cluster, folder: Path, *, run_id: str, tools: Tools, user: OsUser | None
    ) -> Beside:
        """The copy of this run, as an earlier attempt left it, or an empty folder for it.

        Raises:
            ScratchFull: the place cannot be written, or is closed to the server's user.
            OperatorError: the folder is another run's.
        """
        found = cls(folder, run_id, tools, user, cluster.superuser, reader_role=cluster.reader_role)
        found.limitation = (
            f"The restored copy's server ran as user {user.name if user else owner_name(os.geteuid())}, since its files become "
            "production's: a program that it ran could have signalled processes of that user."
        )
        found.hidden = tuple(layout.resolve(path) for path in (cluster.data_directory, *cluster.tablespaces) if path)
        try:
            found.make_folders()
            known = found._read()
            if known.get("run", run_id) != run_id:
                raise OperatorError(
                    f"{folder} belongs to the run {known['run']}.", next=f"runbook status {known['run']}"
                )
            found.promoted = bool(known.get("promoted"))
            found.files_are_proven = bool(known.get("proven"))
            found.note(run=run_id)
        except OSError as cause:
            raise ScratchFull(
                f"The copy cannot be restored to {folder}: {cause.strerror}.",
                next="Make its parent writable, or name another place as recovery.location in params.",
            ) from cause
        closed = closed_at(folder, user)
        if closed is not None:
            raise ScratchFull(
                f"{folder} is closed to user {user.name if user else 'this'}, who runs PostgreSQL: {closed} cannot be entered.",
                next=f"chmod o+x {closed}, or name another place as recovery.location in params.",
            )
        return found

    # -- what is written down

    def _read(self) -> dict[str, Any]:
        file = self.folder / STATE
        return dict(json.loads(file.read_text("utf-8"))) if file.is_file() else {}

    def noted(self, name: str, default: Any = None) -> Any:
        """What was written down about this copy."""
        return self._read().get(name, default)

    def note(self, **facts: Any) -> None:
        """The facts are on disk, all or none."""
        part = self.folder / f".{STATE}.part"
        with part.open("w", encoding="utf-8") as file:
            json.dump({**self._read(), **facts}, file, indent=1)
            file.flush()
            os.fchmod(file.fileno(), 0o600)
            os.fsync(file.fileno())
        part.replace(self.folder / STATE)

    @property
    def is_copied(self) -> bool:
        """True when the backup's files stand whole."""
        return bool(self.noted("copied"))

    @property
    def is_started(self) -> bool:
        """True when a server has touched the files: the manifest does not hold any more."""
        return bool(self.noted("started"))

    # -- its life

    def begin_anew(self, backup: Backup) -> None:
        """The folder is empty, for this backup: what an earlier attempt copied in part, or of another one, is gone.

        Raises:
            RecoveryRefused: the copy was promoted; it is nobody's to throw away.
        """
        if self.promoted or self.noted("swapped"):
            raise RecoveryRefused(
                f"The copy in {self.folder} was promoted: it is not restored anew.",
                next="Go on with it, or choose the way back.",
            )
        self.stop("immediate")
        for name in ("data", "tablespaces", "backup_wal", PAST_CONFIG):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        self.make_folders()
        self.note(backup=backup.label, copied=False, started=False)
        self.note_manifest(False)

    def note_manifest(self, is_whole: bool) -> None:
        """Also for later attempts, which do not verify the files again."""
        super().note_manifest(is_whole)
        self.note(proven=is_whole)

    def forget_wal(self) -> None:
        """WAL is laid anew: a tail that was secured from a dead server is older than the archive once that server ran again."""
        remove_tree(self.wal)
        self.make_folders()

    def write_label(self) -> None:
        """The socket is written down, so that a later attempt finds and removes it."""
        self.note(socket=str(self.socket) if self.socket else None)

    def configure(self, timeline: int, raised: Mapping[str, int]) -> dict[str, str]:
        """Own configuration files stand in place of the restored ones; the settings written. Safe again after a crash.

        Raises:
            BackupDamaged: pg_control cannot be read, or there is no backup_label.
            RecoveryRefused: a link leads out of the copy.
        """
        self._end_earlier()  # a server that outlived its attempt would hold the files
        if not self.is_started:
            self._keep_past_config()
            close_off(self.folder, self.user)
        settings = super().configure(timeline, raised)
        self.note(started=True, settings=settings)
        return settings

    def _end_earlier(self) -> None:
        """The server and the socket of an earlier attempt are gone."""
        old = self.noted("socket")
        if old and Path(old).name.startswith("rb-"):
            shutil.rmtree(old, ignore_errors=True)
        self.stop()

    def _is_standby(self, control: Mapping[str, str], timeline: int) -> bool:
        """pg_control tells whether it was promoted, not its signal file: that is removed a moment before the new timeline has
        begun, and a server that was killed then and started without it would go on writing the old timeline."""
        keys = ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")
        self.promoted = max(int(control.get(key, "0")) for key in keys) > timeline
        return not self.promoted

    def _keep_past_config(self) -> None:
        past = self.folder / PAST_CONFIG
        past.mkdir(mode=0o700, exist_ok=True)
        for name in _CONFIG:
            if (self.data / name).is_file() and not (past / name).exists():
                shutil.copy2(self.data / name, past / name)

    def _settings(self, control: Mapping[str, str], raised: Mapping[str, int], timeline: int) -> dict[str, str]:
        return super()._settings(control, raised, timeline) | held_settings()

    def start(self) -> None:
        """As a scratch, with a log of this start alone: the last words of an earlier one say nothing about this one."""
        if self.log.exists():
            with self.log.open("rb") as old, (self.folder / "server.log.earlier").open("ab") as earlier:
                shutil.copyfileobj(old, earlier)
            self.log.unlink()
        super().start()

    def run_server(self, *, wait: bool) -> None:
        """As a scratch; what was seen of the files before says nothing about them any more."""
        self.note(**{"looked through": False})
        super().run_server(wait=wait)

    def promote(self, replay: Replay, expected: int) -> int:
        """The copy runs as a server on a timeline of its own that forks at `expected`; its number, written down. Safe again after a crash.

        Args:
            replay: this copy's, standing at its gate; not asked for a copy that was promoted.
            expected: the end of the last record that it has replayed.

        Raises:
            RecoveryFailed: it did not promote, or forked elsewhere.
        """
        if self.noted("promoted"):
            return int(self.noted("timeline"))
        if not self.promoted:
            timeline = replay.promote(expected)
        else:  # an attempt was killed when the promotion was over and nobody had written it down
            self.start_promoted()
            with self.connect("template1", read_only=False) as connection:
                connection.execute("CHECKPOINT")
                timeline = int(one(connection, load_sql("recovery/read_timeline").text)["timeline"])
        try:
            forked = read_own_history(self, timeline)[-1].begin
        except FileNotFoundError:
            raise RecoveryFailed(
                f"The copy is on timeline {timeline} and has no history of it: it is on no timeline of its own.",
                next="Do not swap it in; choose the way back.",
            ) from None
        if not (forked == expected or same_position(forked, expected)):
            raise RecoveryFailed(
                f"The copy forked at {format_lsn(forked)}, and the point is {format_lsn(expected)}.",
                next="Do not swap it in; choose the way back.",
            )
        self.promoted = True
        self.note(promoted=True, timeline=timeline, **self._look_for_others())
        return timeline

    def start_promoted(self) -> None:
        """The promoted copy's server runs, isolated as it was, and this attempt knows its socket. Safe twice.

        Raises:
            PlatformError: it does not start.
        """
        if self.socket is None or not self.socket.is_dir():  # an earlier attempt's is gone, or known to nobody here
            self._end_earlier()
            self.socket = server.make_socket_folder(self.user)
            self.write_label()
            self.write_configuration({**self.noted("settings"), "unix_socket_directories": str(self.socket)})
        if not server.is_running(self.tools, self.data, user=self.user):
            self.run_server(wait=True)
        self.promoted = True

    def _look_for_others(self) -> dict[str, list[str]]:
        """What the past has brought back that acts by itself or waits for others: subscriptions, prepared transactions."""
        with self.connect("template1") as connection:
            return {
                "subscriptions": [
                    row["name"] for row in rows(connection, load_sql("recovery/list_subscriptions").text)
                ],
                "prepared": [_prepared_words(row) for row in rows(connection, load_sql("lockdown/list_prepared").text)],
            }

    def roll_back_prepared(self, xids: Collection[int]) -> None:
        """Those prepared transactions of the promoted copy have not happened; which, is written down. Safe again after a crash.

        Args:
            xids: of the damage, as WAL names them (32 bits).
        """
        if not xids:
            return
        self.start_promoted()
        with self.connect("template1") as connection:
            found = rows(connection, load_sql("lockdown/list_prepared").text)
        for row in found:
            if int(row["xid"]) & 0xFFFFFFFF not in xids:
                continue
            said = dict.fromkeys([*self.noted("rolled back", []), _prepared_words(row)])  # again after a crash: once
            self.note(**{"rolled back": list(said)})
            with self.connect(row["database"], read_only=False) as connection:
                statement = f"ROLLBACK PREPARED {literal(row['gid']).as_string(connection)}"
                connection.execute(connection.encoded(statement))

    def free_of_archive(self) -> list[str]:
        """No file of its pg_wal is a link any more, for production must depend on no archive; what was removed.

        The server is down, and its last checkpoint lies on its own timeline: the segments of the past are not needed.
        """
        with opened(self.data, "pg_wal") as pg_wal:
            names = sorted(entry.name for entry in os.scandir(pg_wal) if entry.is_symlink())
            for name in names:
                os.unlink(name, dir_fd=pg_wal)
        return names

    def keep(self) -> None:
        """Nobody reaps it: it is kept until the run is over."""

    def remove(self) -> None:
        """Server down, folder gone; safe twice.

        Raises:
            RecoveryRefused: it was swapped in: production's data may depend on this folder.
            PlatformError: something could not be removed.
        """
        if not self.folder.exists():
            return
        if self.noted("swapped"):
            raise RecoveryRefused(
                f"{self.folder} was swapped in; it is not removed.", next="See the record of the run."
            )
        self.stop("immediate")
        try:
            remove_tree(self.folder)
        except OSError as cause:
            raise PlatformError(
                f"The copy {self.folder} cannot be removed: {cause.strerror}.", next="Remove it by hand."
            ) from cause
