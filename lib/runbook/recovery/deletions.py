"""Where the rows lay that transactions deleted: pages and places, as the copy restored to the target still has them.

WAL does not hold a deleted row, but it does say which place of which page it was in. The copy restored to the target has its rows in
the very places where the damaged server had them then: so a deleted row can be told to be another transaction's, not the damage's.
"""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import Path

from runbook.errors import WalDamaged
from runbook.outside import commands
from runbook.platforms.cluster.walarchive import Stage
from runbook.postgres.tools import Tools
from runbook.postgres.wal import Timeline, format_lsn

_DELETE = re.compile(
    rb"tx: *(\d+), lsn: \S+ prev \S+ desc: DELETE [^#\n]*?off:? (\d+)[^#\n]*#0: rel \d+/\d+/(\d+) (?:fork main )?blk (\d+)"
)
#: More deletes than that are not told apart one by one.
MOST = 1_000_000


def find_deletions(
    source: Stage | Path,
    lineage: tuple[Timeline, ...],
    tools: Tools,
    start: int,
    end: int,
    xids: Container[int],
    *,
    timeout: float = 6 * 3600,
) -> frozenset[tuple[int, str]] | None:
    """(file's number, ctid) of each row that these transactions deleted; None when there are too many.

    Args:
        source: a stage whose segments are laid already (the loss was counted from it), or a folder.
        xids: the others' transactions, as `Loss.xids`.

    Raises:
        WalDamaged: a segment is gone since.
        CommandTimedOut: pg_waldump took too long.
    """
    folder = source if isinstance(source, Path) else source.folder
    found: set[tuple[int, str]] = set()
    for timeline in lineage:
        begin = max(start, timeline.begin)
        stop = end if timeline.end is None else min(end, timeline.end)
        if begin >= stop:
            continue
        argv = [tools.path("pg_waldump"), "-p", str(folder), "-t", str(timeline.number), "--rmgr=Heap"]
        argv += ["-s", format_lsn(begin), "-e", format_lsn(stop)]
        with commands.lines(argv, timeout=timeout) as output:
            for block in output.blocks():
                for xid, place, file, page in _DELETE.findall(block):
                    if int(xid) in xids:
                        found.add((int(file), f"({int(page)},{int(place)})"))
                if len(found) > MOST:
                    return None
        if output.code != 0:
            raise WalDamaged(f"WAL that was read before cannot be read again: {output.stderr.strip()[-300:]}")
    return frozenset(found)
