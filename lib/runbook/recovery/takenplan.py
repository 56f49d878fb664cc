"""Objects that the damage took, as planned or as they came out: for the gate's plan, the verdict and the report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runbook.recovery.catalogdiff import DAMAGE, MIXED, UNKNOWN
from runbook.texts import visible_line

#: Longer statements, and those of several lines, are in the file alone.
_SHOWN = 300
#: More objects than these are not listed one by one in a plan or a report.
_LISTED = 100


@dataclass(frozen=True)
class TakenObject:
    """One object, or what a table says of itself. `why` it is not (or will not be) made again; "" for one that is. `statements` make it again
    by hand, in this order."""

    database: str
    name: str
    change: str
    whose: str
    why: str
    statements: tuple[str, ...] = ()

    @property
    def is_left(self) -> bool:
        """True for damage that stays; also where others have changed it too."""
        return bool(self.why) and self.whose in (DAMAGE, MIXED) and self.change != "made"

    @property
    def is_unknown(self) -> bool:
        """True for a difference that stays and may be the damage's: nobody knows whose it is."""
        return bool(self.why) and self.whose == UNKNOWN

    @property
    def words(self) -> str:
        """For people, on one line."""
        said = " ".join(self.statements)
        run = ""
        if said:
            is_short = len(said) <= _SHOWN and visible_line(said) == said
            run = f"; to run: {said}" if is_short else f"; its statement is in {FILE}"
        return (
            f"{self.database}: {visible_line(self.name)} ({self.change}): {visible_line(self.why) or 'made again'}{run}"
        )


#: Where the statements of what was not made again are, in the order in which they can be run.
FILE = "objects_not_made_again.sql"


def shortened(lines: list[str]) -> list[str]:
    """Return the first of them, and how many more there are: all are in the file."""
    if len(lines) <= _LISTED:
        return lines
    return [*lines[:_LISTED], f"{len(lines) - _LISTED:,} objects more"]


def write_statements(folder: Path, objects: Iterable[TakenObject]) -> Path | None:
    """All that is left is in a file in the folder, each with its statements for psql; None where nothing is."""
    left = [one for one in objects if one.why]
    if not left:
        return None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / FILE
    lines = [
        "-- Objects that the copy-back did not make again, with the statements for psql. Read each before you run it, as the object's owner."
    ]
    database = None
    for one in left:
        if one.database != database:
            database = one.database
            lines.append(f"\n-- database {visible_line(database)}")
        lines += [f"\n-- {visible_line(one.name)}: {visible_line(one.why)}", *one.statements]
    path.touch(mode=0o600)
    path.write_bytes(("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))
    return path
