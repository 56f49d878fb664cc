"""The timeline history files of a WAL archive: which there are, and their text once it is whole."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from pathlib import Path

from runbook.errors import CommandFailed, StillArriving
from runbook.platforms.cluster.walarchive import WalArchive
from runbook.postgres.wal import HISTORY_NAME, SEGMENT_NAME

#: How many timelines after the last known one are asked for: one whose history is missing hides those after it.
_HISTORIES_AHEAD = 3
#: No system has more timelines; asking for their histories ends there, or after so many fetch timeouts.
_MOST_TIMELINES = 1000
_PROBING_TIMEOUTS = 10
LONGEST_HISTORY = 1 << 20
#: How long a history file may take to arrive whole: it has a few hundred bytes.
_HISTORY_SECONDS = 3.0


def history_names(archive: WalArchive, stage: Path, also: Collection[int] = ()) -> dict[int, str]:
    """Return the archive's history files by timeline; they lie in the stage.

    Args:
        also: timelines that are asked for, too, where the archive cannot be listed.
    """
    if archive.directory is None:
        archive.prove_refusing(stage)
    names = archive.names()
    if names is not None:
        wanted = {int(match[1], 16): name for name in sorted(names) if (match := HISTORY_NAME.match(name))}
        return {number: name for number, name in wanted.items() if archive.lay(name, stage)}
    found = {int(name[:8], 16): name for name in _probe_histories(archive, stage)}
    for number in sorted({*also} - {*found, 1}):
        if archive.lay(f"{number:08X}.history", stage):
            found[number] = f"{number:08X}.history"
    return found


def arrived_text(archive: WalArchive, path: Path) -> str:
    """Return the text of a history file once its last line is whole: one that is cut in a line may name another position.

    Raises:
        StillArriving: it is not whole after some seconds.
    """
    deadline = time.monotonic() + _HISTORY_SECONDS
    while True:
        with path.open("rb") as file:
            text = file.read(LONGEST_HISTORY).decode("utf-8", "replace")
        if text.endswith("\n") or len(text) == LONGEST_HISTORY:
            break
        if time.monotonic() > deadline:
            # The archiver takes history files first: with a segment of its timeline there, it was finished.
            if any(name.startswith(path.name[:8]) and SEGMENT_NAME.match(name) for name in archive.names() or ()):
                break
            raise StillArriving(
                f"The timeline history {path.name} in {archive.where()} does not end with a whole line: its copy is not finished, or was cut short.",
                next="Compare it with the one in pg_wal of the server or with a copy of the archive; then run again.",
            )
        time.sleep(0.2)
        if archive.directory is None:
            path.unlink()
            if not archive.lay(path.name, path.parent):
                break
    return text


def _probe_histories(archive: WalArchive, stage: Path) -> Iterator[str]:
    """Ask a fetch command for the history of one timeline after the other, up to a gap of some.

    Raises:
        CommandFailed: it delivers one for every number, or takes too long.
    """
    deadline = time.monotonic() + _PROBING_TIMEOUTS * archive.params.fetch_timeout
    number, last = 2, 1
    while number <= last + _HISTORIES_AHEAD:
        name = f"{number:08X}.history"
        if archive.lay(name, stage):
            yield name
            last = number
        number += 1
        if number > _MOST_TIMELINES or time.monotonic() > deadline:
            raise CommandFailed(
                f"The command that fetches WAL was asked for the history files of {number - 2} timelines, and there was no end.",
                next="Name wal_archive.list_command in params; look whether fetch_command ends with 1 for a file that is not there.",
            )
