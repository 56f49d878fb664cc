"""The tail of WAL, secured: what production wrote last is in the archive, or is copied out of pg_wal before it can be lost."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook import disk
from runbook.disk import sync_folder
from runbook.errors import CommandFailed, CommandTimedOut, NotReadable, PlatformError, StillArriving
from runbook.platforms.cluster import tailnote
from runbook.platforms.cluster.live import LiveServer, read_facts
from runbook.platforms.cluster.walarchive import WalArchive
from runbook.postgres.connect import Connection, one
from runbook.postgres.sqlfiles import load_sql
from runbook.postgres.tools import Tools, read_control
from runbook.postgres.wal import (
    HISTORY_NAME,
    SEGMENT_NAME,
    WalRecord,
    end_of_record,
    format_lsn,
    parse_lsn,
    read_segment_header,
    segment_name,
    segment_start,
)
from runbook.postgres.waldump import read_records

_READ_TIMEOUT = 300.0


@dataclass(frozen=True)
class Tail:
    """Where production's WAL ends and where it is. `folder` holds what the archive lacks; None when it lacks nothing.

    `why` says why it had to be copied.
    """

    timeline: int
    end: int
    segment: str
    folder: Path | None
    copied: tuple[str, ...]
    why: str
    seconds: float

    def facts(self) -> dict[str, Any]:
        """For journal and report; `from_facts` reads it back."""
        return {
            "timeline": self.timeline,
            "end": format_lsn(self.end),
            "segment": self.segment,
            "folder": str(self.folder) if self.folder else None,
            "copied": list(self.copied),
            "why": self.why,
            "seconds": round(self.seconds, 1),
        }

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Tail:
        """The tail as it was written down."""
        folder = Path(facts["folder"]) if facts["folder"] else None
        copied = tuple(facts["copied"])
        end = parse_lsn(facts["end"])
        return cls(int(facts["timeline"]), end, facts["segment"], folder, copied, facts["why"], float(facts["seconds"]))


def secure_tail(
    server: LiveServer, folder: Path, *, timeout: float, progress: Callable[[str], None] = lambda said: None
) -> Tail:
    """All WAL that production has written so far is in the archive, or in the folder, on disk. Safe twice.

    Args:
        folder: of the run; made when it is needed.
        timeout: seconds that the archive may take. An archiver that fails meanwhile is not waited for.

    Raises:
        PlatformError: pg_wal cannot be read or the folder not written: the tail is not safe.
        OperatorError: params do not say where the cluster's files are.
    """
    began = time.monotonic()
    if not server.is_up():
        return _copy_from_the_dead(server, folder, "the server is down", began)
    with server.connect(read_only=False) as connection:
        facts = read_facts(connection)
        if facts.in_recovery:
            return _copy_from_the_dead(server, folder, "the server is in recovery and finishes no segment", began)
        switched = parse_lsn(one(connection, load_sql("lockdown/switch_wal").text)["end"])
        last = segment_name(facts.timeline, switched - 1, facts.segment_size)
        # The switch fills its segment up: WAL goes on at the next one's start.
        end = -(-switched // facts.segment_size) * facts.segment_size
        why = "nothing is archived" if not facts.archives else ""
        archive = _Archived(server, facts.segment_size)
        if not why:
            progress(f"waiting for {last} in {archive.where()}")
            why = _wait(connection, archive, last, timeout)
    lacking = [name for name in _written(archive.pg_wal, end, facts.segment_size) if not archive.has(name)]
    lacking = archive.worth_keeping(lacking, last)
    if not lacking:
        return Tail(facts.timeline, end, last, None, (), "", time.monotonic() - began)
    why = why or f"the archive lacks {lacking[0]}"
    progress(f"copying {len(lacking)} segments, since {why}")
    still_open = _drop_archived(archive, folder, lacking)
    _copy_all(archive.pg_wal, lacking, folder)
    _copy_histories(archive, folder)
    tailnote.write(folder, facts.timeline, end, still_open)
    return Tail(facts.timeline, end, last, folder, tuple(lacking), why, time.monotonic() - began)


class _Archived:
    """What the archive holds by now, asked anew each time, and whole."""

    def __init__(self, server: LiveServer, segment_size: int) -> None:
        self._params, self._user, self.size = server.cluster.wal_archive, server.user, segment_size
        self.pg_wal = server.need_data() / "pg_wal"
        self.problem = ""
        self._listed: frozenset[str] | None = None
        self.pause = 0.1 if self._params.directory else 1.0

    def where(self) -> str:
        return WalArchive(self._params, self._user).where()

    def refresh(self) -> None:
        """What was listed is asked for again."""
        self._listed = None

    def has(self, name: str) -> bool:
        """True when it has the whole file and the server knows that; an archive that cannot be asked has nothing."""
        if self.problem:  # asked once: another look may hang as long
            return False
        if (self.pg_wal / "archive_status" / f"{name}.ready").exists():
            return False
        archive = WalArchive(self._params, self._user, None, self._listed)
        try:
            if archive.directory is not None:
                return archive.whole_file(name, archive.directory, self.size)
            names = archive.names()
            self._listed = names
            if names is not None and name not in names:
                return False
            with tempfile.TemporaryDirectory(prefix="rb-", dir=disk.parent_folder()) as stage:
                Path(stage).chmod(0o755)
                return archive.whole_file(name, Path(stage), self.size)
        except StillArriving:
            return False
        except (CommandFailed, CommandTimedOut, NotReadable, OSError) as cause:
            self.problem = f"the archive cannot be asked: {cause}".split("\n")[0]
            return False

    def worth_keeping(self, lacking: list[str], last: str) -> list[str]:
        """Without those that the archive has let expire: older than all it has."""
        if self.problem or not lacking:
            return lacking
        names = WalArchive(self._params, self._user).names()
        first = min((name[8:] for name in names or () if SEGMENT_NAME.match(name)), default="")
        return [name for name in lacking if name[8:] >= first or name == last]


def _wait(connection: Connection, archive: _Archived, last: str, timeout: float) -> str:
    """Why the segment is not in the archive; empty when it is."""
    query = load_sql("lockdown/read_archiver").text
    failed = int(one(connection, query)["failed"])
    deadline = time.monotonic() + timeout
    while True:
        archive.refresh()
        if archive.has(last):
            return ""
        if archive.problem:
            return archive.problem
        row = one(connection, query)
        if int(row["failed"]) > failed:
            return f"archiving fails (last at {row['last_failed']})"
        if time.monotonic() > deadline:
            return f"{last} was not archived within {timeout:.0f} s"
        time.sleep(archive.pause)


def _written(pg_wal: Path, end: int | None, size: int) -> list[str]:
    """Segments in pg_wal that hold what their names say, oldest first: those laid out for later still hold something older."""
    found = []
    try:
        for path in sorted(pg_wal.iterdir()):
            if not SEGMENT_NAME.match(path.name):
                continue
            timeline, begin = segment_start(path.name, size)
            header = read_segment_header(path)
            if (
                header is None
                or header.begin != begin
                or header.timeline > timeline
                or (end is not None and begin >= end)
            ):
                continue
            found.append(path.name)
    except FileNotFoundError:
        return _written(pg_wal, end, size)  # a checkpoint removed one under our eyes: look again
    except OSError as cause:
        raise PlatformError(
            f"{pg_wal} cannot be read: {cause.strerror}.", next="Run as the cluster's user or as root; then resume."
        ) from cause
    return sorted(found, key=lambda name: (name[8:], name))


def _copy_all(pg_wal: Path, names: list[str], folder: Path) -> None:
    """The files are in the folder, on disk. One that was copied whole before is not copied again.

    Raises:
        PlatformError: no room, or a file changed its place while it was copied.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        open_before = tailnote.read(folder)
        for name in names:
            if not (folder / name).exists() or name in open_before or HISTORY_NAME.match(name):
                _copy(pg_wal / name, folder / name)
        sync_folder(folder)
    except OSError as cause:
        raise PlatformError(
            f"The tail of WAL cannot be copied to {folder}: {cause.strerror} ({cause.filename}).",
            next="Make room or readable what is named; nothing may start or remove this cluster before. Then resume.",
        ) from cause


def _drop_archived(archive: _Archived, folder: Path, wanted: list[str]) -> dict[str, int]:
    """Copies of segments that were unfinished then are removed where the archive has the whole one by now: the server has lived on.

    Returns:
        The unfinished ones that stay, since nothing better is there: those that are not copied anew.
    """
    found = {}
    for name, end in tailnote.read(folder).items():
        if name in wanted or not (folder / name).exists():
            continue
        if archive.has(name):
            (folder / name).unlink()
        else:
            found[name] = end
    return found


def _copy(source: Path, target: Path) -> None:
    part = target.with_name(f"{target.name}.part")
    with source.open("rb") as reading, part.open("wb") as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)
        writing.flush()
        os.fsync(writing.fileno())
    if SEGMENT_NAME.match(source.name):
        header = read_segment_header(part)
        if header is None or header.begin != segment_start(source.name, header.size)[1]:
            part.unlink()
            raise PlatformError(
                f"{source.name} was recycled while it was copied: it is not in the archive, and not in pg_wal any more.",
                next="Look for a copy of it on a standby.",
            )
    part.replace(target)


def _copy_histories(archive: _Archived, folder: Path) -> None:
    names = [path.name for path in archive.pg_wal.iterdir() if HISTORY_NAME.match(path.name)]
    _copy_all(archive.pg_wal, [name for name in names if not archive.has(name)], folder)


def _copy_from_the_dead(server: LiveServer, folder: Path, why: str, began: float) -> Tail:
    """What a server that is down (or only replays) has in pg_wal and the archive lacks, up to the last whole record."""
    tools = server.tools()
    control = read_control(tools, server.need_data())
    size = int(control["Bytes per WAL segment"])
    archive = _Archived(server, size)
    written = _written(archive.pg_wal, None, size)
    if not written:
        raise PlatformError(
            f"{archive.pg_wal} holds no WAL: what was written last is lost unless the archive has it.",
            next="Look for pg_wal elsewhere (a mount that is missing?); then resume.",
        )
    newest = max(written)  # by timeline first: the one that was written last
    lacking = archive.worth_keeping([name for name in written if not archive.has(name)], newest)
    # Read from copies: whoever starts the server now changes the originals. The last two are always looked at.
    wanted = sorted({*lacking, *[name for name in written if name[:8] == newest[:8]][-2:]})
    still_open = _drop_archived(archive, folder, wanted)
    _copy_all(archive.pg_wal, wanted, folder)
    _copy_histories(archive, folder)
    end, last = _find_end(tools, folder, newest, size)
    _require_checkpoint(control, end, folder / last)
    behind = [name for name in lacking if segment_start(name, size)[1] >= end]
    for name in behind:  # began as WAL does, and holds no whole record
        (folder / name).unlink()
    timeline, begin = segment_start(last, size)
    is_open = end < begin + size
    if is_open:
        _cut(folder / last, end - begin)
    tailnote.write(folder, timeline, end, still_open | ({last: end} if is_open else {}))
    copied = tuple(path.name for path in sorted(folder.iterdir()) if SEGMENT_NAME.match(path.name))
    return Tail(timeline, end, last, folder, copied, why, time.monotonic() - began)


def _find_end(tools: Tools, folder: Path, newest: str, size: int) -> tuple[int, str]:
    """The end of the last whole record, and the segment that holds it."""
    timeline, begin = segment_start(newest, size)
    while (folder / segment_name(timeline, begin, size)).exists():
        last: WalRecord | None = None
        for item in read_records(tools, folder, timeline, begin, begin + size, rmgrs=(), timeout=_READ_TIMEOUT):
            if isinstance(item, WalRecord):
                last = item
        if last is not None:
            switched = last.rmgr == "XLOG" and last.desc.startswith("SWITCH")
            end = begin + size if switched else end_of_record(last.lsn, last.length, size)
            return end, segment_name(timeline, end - 1, size)
        begin -= size
    raise PlatformError(
        f"No whole WAL record was found in {newest} or before it.",
        next="Recover to a point that the archive reaches; look at pg_wal of a standby.",
    )


def _require_checkpoint(control: dict[str, str], end: int, last: Path) -> None:
    """The WAL that was found reaches past the last checkpoint that the server has written down.

    Raises:
        PlatformError: it ends before: WAL that the server itself relies on was not read.
    """
    checkpoint = parse_lsn(control["Latest checkpoint location"])
    if end <= checkpoint:
        raise PlatformError(
            f"The WAL of the server that is down could be read up to {format_lsn(end)} only ({last}), and its last checkpoint "
            f"is at {format_lsn(checkpoint)}.",
            next="Look for the rest of pg_wal (a mount that is missing, damage); a standby may have it. Then resume.",
        )


def _cut(path: Path, keep: int) -> None:
    """Zeros from there on: a segment in use still holds older WAL behind its end."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(keep)
        file.truncate(size)
        file.flush()
        os.fsync(file.fileno())
