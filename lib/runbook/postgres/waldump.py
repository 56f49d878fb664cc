"""pg_waldump: its command line, its records, and what its end says of the WAL."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from runbook.errors import CommandFailed
from runbook.outside import commands
from runbook.postgres import causes
from runbook.postgres.tools import Tools
from runbook.postgres.wal import PAGE, RECORD_HEADER, SEGMENT_NAME, WalRecord, format_lsn, page_header, parse_record
from runbook.postgres.waltexts import FalseLines


def waldump_argv(
    tools: Tools, folder: Path, timeline: int, start: int, end: int | None, rmgrs: Iterable[str] = ()
) -> list[str]:
    """pg_waldump for the records of these resource managers (none named: of all) that begin at or after `start` and end by `end`."""
    argv = [tools.path("pg_waldump"), "-p", str(folder), "-t", str(timeline), "-s", format_lsn(start)]
    if end is not None:
        # The largest is a whole one: others may be truncated, even to nothing.
        size = max((path.stat().st_size for path in folder.iterdir() if SEGMENT_NAME.match(path.name)), default=0)
        argv += ["-e", format_lsn(waldump_end(end, size or PAGE))]
    return argv + [f"--rmgr={name}" for name in rmgrs]


def waldump_end(end: int, segment_size: int) -> int:
    """The end to give to pg_waldump: near a page's first record it takes left-over bytes for a record and calls WAL damaged.

    It reads no byte after the end, and looks at the header of a page's first record (24 bytes) nevertheless (PostgreSQL 17,
    XLogDecodeNextRecord). Exactly at that record it must end at the page's start; inside the header, behind it, where no record
    can have its whole length.

    >>> [f"{waldump_end(end, 16 << 20):X}" for end in (0x1B000028, 0x1B002018, 0x1B002020, 0x1B002030, 0x1B002000)]
    ['1B000000', '1B002000', '1B002030', '1B002030', '1B002000']
    """
    within = end % PAGE
    page = end - within
    header = page_header(page, segment_size)
    if within == header:
        return page
    return page + header + RECORD_HEADER if header < within < header + RECORD_HEADER else end


def read_records(
    tools: Tools, folder: Path, timeline: int, start: int, end: int, *, rmgrs: tuple[str, ...], timeout: float
) -> Iterator[WalRecord | str]:
    """Records of the named resource managers in order, then, as the last item, how reading ended.

    Every record in the range is read and its checksum verified, whatever is printed. Memory stays flat.

    Args:
        folder: holds the segments under their plain names.
        start, end: from the record at or after `start` to before `end`. The end is due: without one pg_waldump waits
            five seconds for a segment behind the last.
        rmgrs: such as ("Transaction", "XLOG").

    Yields:
        WalRecord items; finally one str: "" when the range was read to its end, else pg_waldump's error.
    """
    argv = waldump_argv(tools, folder, timeline, start, end, rmgrs)
    with commands.lines(argv, timeout=timeout) as output:
        for line in FalseLines(folder, timeline).without(output):
            record = parse_record(line)
            if record is not None:
                yield record
    yield waldump_complaint(output.code, output.stderr)


def save_pages(tools: Tools, folder: Path, timeline: int, lsn: int) -> dict[tuple[tuple[int, int, int], int], bytes]:
    """Return the page images of the record at a position, unpacked, by (tablespace, database, number) and block (PostgreSQL 16 and later).

    Raises:
        CommandFailed, CommandTimedOut.
    """
    with tempfile.TemporaryDirectory(prefix="runbook-pages-") as place:
        argv = waldump_argv(tools, folder, timeline, lsn, None)
        commands.run([*argv, "-n", "1", f"--save-fullpage={place}"], timeout=60)
        found = {}
        for path in Path(place).iterdir():
            # TIMELINE-LSN.TABLESPACE.DATABASE.RELATION.BLOCK_FORK
            parts, _, fork = path.name.rpartition("_")
            if fork == "main":
                tablespace, database, number, block = map(int, parts.split(".")[1:])
                found[(tablespace, database, number), block] = path.read_bytes()
        return found


def waldump_complaint(code: int | None, stderr: str) -> str:
    """Return what pg_waldump says of the WAL that it read; "" when it read all of the range.

    Raises:
        CommandFailed: it says nothing of the WAL: it was killed, could not read its files, or ended in an unknown way.
    """
    if code == 0:
        return ""
    said = _last_error(stderr)
    if code != 1 or "error:" not in said or causes.is_of_host(said):
        raise CommandFailed(
            f"pg_waldump could not read the WAL and ended with code {code}: {said}. This says nothing about the WAL.",
            next="Repair what the message names on this machine (memory, rights, disk), then run again.",
        )
    return said


def _last_error(said: str) -> str:
    """pg_waldump's last error, not the detail that may follow it.

    >>> _last_error("pg_waldump: error: invalid size\\npg_waldump: detail: It must be a power of two.\\n")
    'pg_waldump: error: invalid size'
    """
    lines = said.strip().splitlines()
    return ([line for line in lines if "error:" in line] or lines or ["pg_waldump failed"])[-1]
