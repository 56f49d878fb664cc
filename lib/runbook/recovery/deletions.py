"""Who deleted or changed a row, told by its place: page and line, as the copy restored to the target still has them.

WAL does not hold a deleted row, but it does say which place of which page it was in. The copy restored to the target has its rows in
the very places where the damaged server had them then. An UPDATE moves a row to another place, so each row is followed from its
place at the target on: a row that another transaction changed and then deleted is not taken for the damage's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterator
from pathlib import Path

from runbook.errors import WalDamaged
from runbook.outside import commands
from runbook.platforms.cluster.walstage import Stage
from runbook.postgres.tools import Tools
from runbook.postgres.wal import Timeline
from runbook.postgres.waldump import waldump_argv, waldump_complaint
from runbook.recovery.transactions import RelFile

_CHANGE = re.compile(
    rb"tx: *(\d+), lsn: \S+ prev \S+ desc: (DELETE|UPDATE|HOT_UPDATE)(?:\+INIT)? ([^#\n]*)"
    rb"#0: rel \d+/(\d+)/(\d+) (?:fork main )?blk (\d+)(?:[^#\n]*#1: rel \S+ (?:fork main )?blk (\d+))?"
)
_LINE = re.compile(rb"off:? (\d+)")
_MOVED = re.compile(rb"flags:? 0x(?:1|3|5|7|9|B|D|F|b|d|f)")
#: More pages with deleted rows, or more changed rows, are not followed: their places would fill the memory.
MOST = 1_000_000

#: A table's file: its database and its number.
FileKey = tuple[int, int]
#: (database, file, page, line)
Place = tuple[int, int, int, int]


class PlaceSet:
    """Places of rows, a bit a line: a page that lost all its rows takes no more room than one that lost one."""

    def __init__(self) -> None:
        self._pages: dict[FileKey, dict[int, int]] = {}
        self.pages = 0

    def add(self, place: Place) -> None:
        pages = self._pages.setdefault(place[:2], {})
        known = pages.get(place[2])
        self.pages += known is None
        pages[place[2]] = (known or 0) | 1 << place[3]

    def __contains__(self, place: Place) -> bool:
        return bool(self._pages.get(place[:2], {}).get(place[2], 0) >> place[3] & 1)

    def of_file(self, file: FileKey) -> Iterator[Place]:
        """The file's places in order of its pages."""
        for page, lines in sorted(self._pages.get(file, {}).items()):
            for line in range(lines.bit_length()):
                if lines >> line & 1:
                    yield (*file, page, line)


class RowFates:
    """What became of the rows that stood in the tables at the target, by their places then.

    `of` says: "damage" the damage deleted it; "updated" the damage changed it (or moved it to another partition), who deleted it
    afterwards is not said; "other" another transaction deleted it; "moved" another one moved it to another partition; "changed"
    another one changed it; "older" another one changed it before the damage did its work, so the restored copy has an older version;
    None: nobody changed or deleted it by itself.
    """

    def __init__(self) -> None:
        self._gone = PlaceSet()
        names = ("damage", "other", "updated", "changed", "later", "moved")
        self._of: dict[str, PlaceSet] = {name: PlaceSet() for name in names}
        # Where a changed row lies now, and where it lay at the target.
        self._at: dict[Place, Place] = {}

    @property
    def is_too_large(self) -> bool:
        return self._gone.pages > MOST or len(self._at) > MOST

    def change(self, place: Place, new: Place | None, *, by_damage: bool, is_move: bool = False) -> None:
        """A row at this place was deleted, or (`new`) changed. In WAL's order."""
        row = self._at.pop(place, None)
        if row is None:
            if place in self._gone:
                return  # a row made after the target, in the place of one that is gone
            row = place
            self._gone.add(place)
        if new is not None:
            # Rows that a huge UPDATE of the damage changed are known by their xmin too: they need not be followed.
            if not by_damage or len(self._at) < MOST // 2:
                self._at[new] = row
            by_others = "later" if row in self._of["updated"] else "changed"
            self._of["updated" if by_damage else by_others].add(row)
        elif is_move:
            self._of["updated" if by_damage else "moved"].add(row)
        else:
            self._of["damage" if by_damage else "other"].add(row)

    def _fate(self, place: Place) -> str | None:
        is_changed = place in self._of["changed"]
        if place in self._of["other"]:
            return "other"
        if place in self._of["damage"]:
            return "older" if is_changed or place in self._of["later"] else "damage"
        if place in self._of["moved"]:
            return "moved"
        if place in self._of["updated"]:
            return "older" if is_changed else "updated"
        return "changed" if is_changed else None

    def of(self, file: FileKey, ctid: str) -> str | None:
        """The fate of the row that has this ctid in the restored copy."""
        page, _, line = ctid.strip("()").partition(",")
        return self._fate((*file, int(page), int(line)))

    def was_changed(self, file: FileKey, ctid: str) -> bool:
        """True where the damage changed the row, whoever removed it afterwards."""
        page, _, line = ctid.strip("()").partition(",")
        return (*file, int(page), int(line)) in self._of["updated"]

    def places_now(self, file: FileKey) -> dict[str, str]:
        """Where rows that were changed and not removed lie now, by their ctid in the restored copy; those that were not followed are left out.

        Plain VACUUM moves no row; a rewrite of the table puts them into another file.
        """
        return {
            f"({row[2]},{row[3]})": f"({place[2]},{place[3]})"
            for place, row in self._at.items()
            if row[:2] == file and place[:2] == file
        }

    def touched(self, file: FileKey) -> Iterator[tuple[str, str]]:
        """(ctid, fate) of each row that the damage deleted or changed, or that others deleted, as far as it was there at the target."""
        for name in ("damage", "updated", "other"):
            for place in self._of[name].of_file(file):
                if name != "updated" or place not in self._of["damage"]:
                    fate = self._fate(place)
                    if fate is not None and (name == "other") == (fate == "other"):
                        yield f"({place[2]},{place[3]})", fate


def find_deletions(
    source: Stage | Path,
    lineage: tuple[Timeline, ...],
    tools: Tools,
    start: int,
    end: int,
    xids: Container[int],
    damage: Container[int] = frozenset(),
    *,
    files: Collection[RelFile] | None = None,
    timeout: float = 6 * 3600,
) -> RowFates | None:
    """What these transactions did to each row that was there at the target; None when they did too much to follow it.

    Args:
        source: a stage whose segments are laid already (the loss was counted from it), or a folder.
        start, end: as the loss was counted: from the base backup on, to `Loss.reached`.
        xids: the others' transactions, as `Loss.xids`.
        damage: those of the damage, as `Loss.damage_xids`.
        files: only rows of these files are followed, as `Loss.damage_files`; None: of all.

    Raises:
        WalDamaged: a segment is gone since.
        CommandTimedOut: pg_waldump took too long.
    """
    folder = source if isinstance(source, Path) else source.folder
    wanted = None if files is None else {(file.database, file.number) for file in files}
    fates = RowFates()
    for timeline in lineage:
        begin = max(start, timeline.begin)
        stop = end if timeline.end is None else min(end, timeline.end)
        if begin >= stop:
            continue
        argv = waldump_argv(tools, folder, timeline.number, begin, stop, ["Heap"])
        with commands.lines(argv, timeout=timeout) as output:
            for block in output.blocks():
                _follow(fates, block, xids, damage, wanted)
                if fates.is_too_large:
                    return None
        said = waldump_complaint(output.code, output.stderr)
        if said:
            raise WalDamaged(f"WAL that was read before cannot be read again: {said}")
    return fates


def _follow(
    fates: RowFates, block: bytes, xids: Container[int], damage: Container[int], wanted: set[FileKey] | None
) -> None:
    for xid, verb, said, database, number, page, old_page in _CHANGE.findall(block):
        file = int(database), int(number)
        if wanted is not None and file not in wanted:
            continue
        by_damage = int(xid) in damage
        if not by_damage and int(xid) not in xids:
            continue
        lines = [int(line) for line in _LINE.findall(said)]
        # An UPDATE names the new page first, and the old one only where that is another.
        old = (*file, int(old_page or page), lines[0])
        if verb == b"DELETE":
            fates.change(old, None, by_damage=by_damage, is_move=_MOVED.search(said) is not None)
        else:
            fates.change(old, (*file, int(page), lines[1]), by_damage=by_damage)
