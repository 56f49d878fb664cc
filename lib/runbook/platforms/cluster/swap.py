"""The swap: the damaged cluster is moved aside, the restored copy takes its place; by renames alone, and back again.

What was done is read from the disk each time, so a swap that was cut short between any two renames is finished by calling it again.
Nothing is ever deleted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runbook import layout
from runbook.disk import sync_folder
from runbook.errors import OperatorError, PlatformError, RecoveryRefused
from runbook.outside.commands import OsUser
from runbook.params.schema import Cluster
from runbook.platforms.cluster.autoconf import AUTO
from runbook.platforms.cluster.beside import Beside, aside_of
from runbook.platforms.cluster.datafolder import find_planted
from runbook.platforms.cluster.movefirst import place_of
from runbook.platforms.cluster.sealing import kept_auto, unseal
from runbook.postgres import server
from runbook.postgres.osuser import give

Stand = Literal["before", "half", "after"]


@dataclass(frozen=True)
class Move:
    """One rename."""

    old: Path
    new: Path

    def words(self) -> tuple[str, str]:
        return str(self.old), str(self.new)


@dataclass(frozen=True)
class Tablespace:
    """A tablespace of the restored copy: its OID, where production has it (and as its link says it), and whether it can be renamed
    into that place."""

    oid: str
    location: Path
    link: Path
    version: str
    fits: bool


class Swap:
    """The renames of one recovery.

    Args:
        beside: the restored copy.
    """

    def __init__(self, cluster: Cluster, beside: Beside, run_id: str, user: OsUser | None) -> None:
        if cluster.data_directory is None:
            raise OperatorError(
                "The params file does not say where production's files are.", next="Name cluster.data_directory."
            )
        named = layout.resolve(cluster.data_directory)
        self.beside, self.run_id, self.user = beside, run_id, user
        # A data directory that is a link stays one: the folder behind it is renamed.
        self.data = place_of(named)
        self.aside = aside_of(named, run_id)

    # -- what is to be done

    def tablespaces(self) -> list[Tablespace]:
        """The copy's tablespaces, with the places that production has them in."""
        found = []
        links = self._links(self.aside if self.aside.exists() else self.data)
        noted = self.beside.noted("tablespaces", {})
        for folder in sorted((self.beside.folder / "tablespaces").iterdir()):
            versions = sorted(folder.glob("PG_*"))
            link = links.get(folder.name)
            if folder.name in noted:  # decided before the first rename
                location, said, version = noted[folder.name]
                found.append(Tablespace(folder.name, Path(location), Path(said), version, True))
            elif versions and link is not None:
                location = link.resolve()
                fits = location.is_dir() and location.stat().st_dev == folder.stat().st_dev
                found.append(Tablespace(folder.name, location, link, versions[-1].name, fits))
        return found

    @staticmethod
    def _links(data: Path) -> dict[str, Path]:
        folder = data / "pg_tblspc"
        return {link.name: link.readlink() for link in folder.iterdir() if link.is_symlink()} if folder.is_dir() else {}

    def left_where_they_are(self) -> dict[str, str]:
        """What does not stand where production had it, and why: the operator moves it at leisure, or never."""
        moved = {one.oid for one in self.tablespaces() if one.fits}
        found = {
            str(folder): "a tablespace whose place is on another file system, or gone: it is used from here"
            for folder in sorted((self.beside.folder / "tablespaces").iterdir())
            if folder.name not in moved and any(folder.glob("PG_*"))
        }
        pg_wal = (self.aside if self.aside.exists() else self.data) / "pg_wal"
        if pg_wal.is_symlink():
            found[str(self.data / "pg_wal")] = (
                f"production's WAL lay in {pg_wal.readlink()}, by a link; the restored cluster's lies in its data directory"
            )
        return found

    def moves(self) -> list[Move]:
        """The renames in their order."""
        found = [Move(self.data, self.aside), Move(self.beside.data, self.data)]
        for one in self.tablespaces():
            if one.fits:
                live = one.location / one.version
                found.append(Move(live, self._aside_in(one) / one.version))
                found.append(Move(self.beside.folder / "tablespaces" / one.oid / one.version, live))
        return found

    def _aside_in(self, tablespace: Tablespace) -> Path:
        """A tablespace folder of its own, so that the damaged cluster, if started, finds its files and not production's."""
        return tablespace.location / f"damaged-{self.run_id}"

    def refuse_impossible(self) -> None:
        """The renames can be done; asked before anything is stopped or approved.

        Raises:
            OperatorError: the copy stands on another file system, or the data directory is a mount point.
        """
        if self.state() != "before" or not self.data.is_dir():
            return
        if os.path.ismount(self.data):
            raise OperatorError(
                f"{self.data} is a mount point: it cannot be renamed, so nothing can be swapped in.",
                next="Copy the lost rows back, or put the data directory below the mount point first.",
            )
        if self.beside.folder.exists() and self.beside.folder.stat().st_dev != self.data.parent.stat().st_dev:
            raise OperatorError(
                f"The copy in {self.beside.folder} stands on another file system than {self.data}: it cannot be swapped in by a rename.",
                next="Copy the lost rows back; or go back, name a place on that file system as recovery.location, and begin a new run.",
            )

    # -- where it stands

    def state(self) -> Stand:
        """Before any rename, between two, or after the last."""
        if not self.aside.exists():
            return "before" if self.data.exists() else "half"
        pairs = list(self._pairs())
        return "after" if all(aside.new.exists() and not new.old.exists() for aside, new in pairs) else "half"

    def _pairs(self) -> Iterator[tuple[Move, Move]]:
        moves = self.moves()
        yield from zip(moves[::2], moves[1::2], strict=True)

    def find_planted(self) -> list[str]:
        """What stands in the stopped copy that PostgreSQL does not make: it may have run hostile code while it was looked at.

        A copy that was swapped in and taken back holds production's configuration, links too: it is looked at before the first swap, and
        again when a server ran on it since.
        """
        beside = self.beside
        if not beside.data.is_dir() or beside.noted("looked through"):
            return []
        own = {path.name: path for path in (beside.folder / "tablespaces").iterdir()}
        tblspc = beside.data / "pg_tblspc"
        is_folder = tblspc.is_dir() and not tblspc.is_symlink()
        links = [
            f"pg_tblspc/{link.name}"
            for link in (tblspc.iterdir() if is_folder else ())
            if link.is_symlink() and link.readlink() == own.get(link.name)
        ]
        found = find_planted(beside.data, links)
        for oid, folder in own.items():
            found += [f"tablespace {oid}: {one}" for one in find_planted(folder)]
            versions = sorted(path.name for path in folder.iterdir())
            if len(versions) > 1 or any(not name.startswith(f"PG_{beside.tools.major}_") for name in versions):
                found.append(
                    f"tablespace {oid}: {', '.join(versions)} instead of one folder of version {beside.tools.major}"
                )
        return found

    def refuse_planted(self) -> None:
        """The copy holds nothing but what PostgreSQL makes; nothing was renamed.

        Raises:
            RecoveryRefused: it does.
        """
        found = self.find_planted()
        if found:
            raise RecoveryRefused(
                f"The copy in {self.beside.data} is not swapped in: it holds {found[0]}"
                + (f" and {len(found) - 1} more such files" if len(found) > 1 else "")
                + ", which PostgreSQL does not make.",
                next=f"runbook abort {self.run_id}; then recover again, and see who may run programs in this database.",
            )
        if self.beside.data.is_dir():
            self.beside.note(**{"looked through": True})

    def refuse_servers(self) -> None:
        """No server runs on any of the folders.

        Raises:
            PlatformError: one does; nothing was renamed.
        """
        for folder in (self.data, self.beside.data, self.aside):
            if folder.exists() and server.is_running(self.beside.tools, folder, user=self.user):
                raise PlatformError(
                    f"A server runs on {folder}: its files are not moved.",
                    next="Stop it (and whoever starts it), then resume.",
                )

    def refuse(self) -> None:
        """The renames may begin: asked while it is still the damaged server's stop that would be taken back.

        Raises:
            OperatorError, PlatformError, RecoveryRefused: they may not; nothing was renamed.
        """
        self.refuse_impossible()
        self.refuse_servers()
        self.refuse_planted()

    # -- doing it

    def forward(self) -> None:
        """The restored copy stands in production's place, the damaged cluster aside. Safe again after a crash.

        Raises:
            PlatformError: a server runs there, or a rename failed; calling it again goes on.
            RecoveryRefused: the copy holds what PostgreSQL does not make; nothing was renamed.
        """
        self.refuse()
        fitting = [one for one in self.tablespaces() if one.fits]
        noted = {one.oid: [str(one.location), str(one.link), one.version] for one in fitting}
        self.beside.note(tablespaces=noted, swapped=True)
        for one in fitting:
            self._aside_in(one).mkdir(mode=0o700, exist_ok=True)
            give(self._aside_in(one), self.user)
        for aside, new in self._pairs():
            if aside.old.exists() and new.old.exists() and not aside.new.exists():
                self._rename(aside)
            if new.old.exists() and not new.new.exists():
                self._rename(new)
        self._link_tablespaces(self.aside, {one.oid: self._aside_in(one) for one in fitting})
        self._link_tablespaces(self.data, {one.oid: one.link for one in fitting})

    def back(self) -> None:
        """The damaged cluster stands in its place again, as it was, the restored copy beside it. Safe again after a crash.

        Raises:
            PlatformError: a server runs there, or a rename failed; calling it again goes on.
        """
        self.refuse_servers()
        fitting = [one for one in self.tablespaces() if one.fits]
        for aside, new in reversed(list(self._pairs())):
            if aside.new.exists() and new.new.exists() and not new.old.exists():
                self._rename(Move(new.new, new.old))
            if aside.new.exists() and not aside.old.exists():
                self._rename(Move(aside.new, aside.old))
        unseal(self.data, self.run_id)
        self._link_tablespaces(self.data, {one.oid: one.link for one in fitting})
        if self.beside.data.is_dir():
            own = {one.oid: self.beside.folder / "tablespaces" / one.oid for one in fitting}
            self._link_tablespaces(self.beside.data, own)
        for one in fitting:
            if self._aside_in(one).is_dir() and not any(self._aside_in(one).iterdir()):
                self._aside_in(one).rmdir()
        self.beside.note(swapped=False, swapped_back=True)

    def back_by_hand(self) -> str:
        """What `back` does, as commands for somebody who has nothing but a shell; the servers are down."""
        commands = [f"mv {move.new} {move.old}" for move in reversed(self.moves())]
        commands += [f"ln -sfn {one.link} {self.data}/pg_tblspc/{one.oid}" for one in self.tablespaces() if one.fits]
        commands.append(f"mv {kept_auto(self.data, self.run_id)} {self.data / AUTO}")
        return "; ".join(commands)

    def _rename(self, move: Move) -> None:
        try:
            move.old.rename(move.new)
            for folder in {move.old.parent, move.new.parent}:
                sync_folder(folder)
        except OSError as cause:
            raise PlatformError(
                f"{move.old} could not be renamed to {move.new}: {cause.strerror}.",
                next="Mend what is named (a mount point cannot be renamed: name a data directory below it), then resume.",
            ) from cause

    def _link_tablespaces(self, data: Path, places: dict[str, Path]) -> None:
        for oid, place in places.items():
            link = data / "pg_tblspc" / oid
            if link.is_symlink() and link.readlink() == place:
                continue
            new = link.with_name(f"{oid}.new")
            new.unlink(missing_ok=True)
            new.symlink_to(place)
            give(new, self.user)
            new.replace(link)
