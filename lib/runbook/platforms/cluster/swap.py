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
from runbook.errors import OperatorError, PlatformError
from runbook.outside.commands import OsUser
from runbook.params.schema import Cluster
from runbook.platforms.cluster.beside import Beside, aside_of
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
    """A tablespace of the restored copy: its OID, where production has it, and whether it can be renamed into that place."""

    oid: str
    location: Path
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
        self.data = Path(os.path.realpath(named))
        self.aside = aside_of(named, run_id)

    # -- what is to be done

    def tablespaces(self) -> list[Tablespace]:
        """The copy's tablespaces, with the places that production has them in."""
        found = []
        links = self._links(self.aside if self.aside.exists() else self.data)
        for folder in sorted((self.beside.folder / "tablespaces").iterdir()):
            versions = sorted(folder.glob("PG_*"))
            location = links.get(folder.name)
            known = self.beside.noted("tablespaces", {}).get(folder.name)
            if known is not None:  # decided before the first rename
                found.append(Tablespace(folder.name, Path(known[0]), known[1], True))
            elif versions and location is not None:
                fits = location.is_dir() and location.stat().st_dev == folder.stat().st_dev
                found.append(Tablespace(folder.name, location, versions[-1].name, fits))
        return found

    @staticmethod
    def _links(data: Path) -> dict[str, Path]:
        folder = data / "pg_tblspc"
        return {link.name: link.resolve() for link in folder.iterdir() if link.is_symlink()} if folder.is_dir() else {}

    def left_where_they_are(self) -> list[str]:
        """Tablespaces whose place is on another file system, or unknown: they stay in the recovery's folder."""
        moved = {one.oid for one in self.tablespaces() if one.fits}
        return [
            str(folder)
            for folder in sorted((self.beside.folder / "tablespaces").iterdir())
            if folder.name not in moved and any(folder.glob("PG_*"))
        ]

    def moves(self) -> list[Move]:
        """The renames in their order."""
        found = [Move(self.data, self.aside), Move(self.beside.data, self.data)]
        for one in self.tablespaces():
            if one.fits:
                live = one.location / one.version
                found.append(Move(live, live.with_name(f"{one.version}.damaged-{self.run_id}")))
                found.append(Move(self.beside.folder / "tablespaces" / one.oid / one.version, live))
        return found

    # -- where it stands

    def state(self) -> Stand:
        """Before any rename, between two, or after the last."""
        if not self.aside.exists():
            return "before"
        pairs = list(self._pairs())
        return "after" if all(aside.new.exists() and not new.old.exists() for aside, new in pairs) else "half"

    def _pairs(self) -> Iterator[tuple[Move, Move]]:
        moves = self.moves()
        yield from zip(moves[::2], moves[1::2], strict=True)

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

    # -- doing it

    def forward(self) -> None:
        """The restored copy stands in production's place, the damaged cluster aside. Safe again after a crash.

        Raises:
            PlatformError: a server runs there, or a rename failed; calling it again goes on.
        """
        self.refuse_servers()
        fitting = {one.oid: [str(one.location), one.version] for one in self.tablespaces() if one.fits}
        self.beside.note(tablespaces=fitting, swapped=True)
        for aside, new in self._pairs():
            if aside.old.exists() and new.old.exists() and not aside.new.exists():
                self._rename(aside)
            if new.old.exists() and not new.new.exists():
                self._rename(new)
        self._link_tablespaces(self.data, {oid: Path(place[0]) for oid, place in fitting.items()})

    def back(self) -> None:
        """The damaged cluster stands in its place again, the restored copy beside it. Safe again after a crash.

        Raises:
            PlatformError: a server runs there, or a rename failed; calling it again goes on.
        """
        self.refuse_servers()
        for aside, new in reversed(list(self._pairs())):
            if aside.new.exists() and new.new.exists() and not new.old.exists():
                self._rename(Move(new.new, new.old))
            if aside.new.exists() and not aside.old.exists():
                self._rename(Move(aside.new, aside.old))
        own = {oid: self.beside.folder / "tablespaces" / oid for oid in self.beside.noted("tablespaces", {})}
        if self.beside.data.is_dir():
            self._link_tablespaces(self.beside.data, own)
        self.beside.note(swapped=False, swapped_back=True)

    def _rename(self, move: Move) -> None:
        try:
            move.old.rename(move.new)
            for folder in {move.old.parent, move.new.parent}:
                handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
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
