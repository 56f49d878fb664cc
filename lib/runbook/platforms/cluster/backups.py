"""Base backups in a folder: what each is, read from its manifest, label and control file.

A backup is a folder made by pg_basebackup (plain or tar), or the backup folder itself when it is one. Source: PostgreSQL 17,
"Backup Manifest Format", backup_label.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runbook import clock
from runbook.errors import BackupDamaged, NotMeasured, NotReadable, TargetError
from runbook.platforms.cluster.backuptar import UNREADABLE, label_in_tar
from runbook.postgres.wal import parse_lsn
from runbook.texts import visible_line

#: Folders still being written, by the conventions of the tools that write them.
#: The files that `copying.unpack_tar` reads.
_READ = {"base.tar", "base.tar.gz", "base.tar.zst", "base.tar.lz4", "base.tar.bz2", "base.tar.xz"}
_BASE_ARCHIVE = re.compile(r"base\.(?:tar|tgz|tbz2?|txz|tzst)(?:[.-].*)?")
_FORM = "encrypted, split or packed in a form that is not read here"
_UNFINISHED = (".part", ".tmp", ".partial", ".incomplete")
#: Folders that file systems and tools put beside backups, empty or not.
_NO_BACKUPS = ("lost+found", "fences", "tmp")
#: Files that may be a packed or dumped backup.
_PACKED = re.compile(r"[.](tar|tgz|tbz2?|txz|zip|7z|gz|bz2|xz|zst|lz4|dump|sql|backup|vbk|img)([.-]|$)", re.IGNORECASE)
#: What a tablespace's folder holds, and nothing else.
_TABLESPACE = re.compile(r"PG_\d+_\d+")


@dataclass(frozen=True)
class Backup:
    """A base backup. Positions in bytes; `end` is where it becomes consistent, None when nothing says so."""

    path: Path
    label: str
    layout: str  # plain | tar
    major: int | None
    system_identifier: str | None
    timeline: int
    start: int
    end: int | None
    started_at: datetime | None
    has_manifest: bool
    incremental: bool

    def is_newer(self, other: Backup) -> bool:
        """True unless it is known to have begun before the other one."""
        if self.started_at is not None and other.started_at is not None:
            return self.started_at >= other.started_at
        return self.start >= other.start

    def links_outside(self, folder: Path) -> list[str]:
        """Where tablespace links of a plain backup lead that leave the folder."""
        links = (path for path in sorted((self.path / "pg_tblspc").glob("*")) if path.is_symlink())
        return [str(link.resolve()) for link in links if not link.resolve().is_relative_to(folder.resolve())]

    def facts(self) -> dict[str, object]:
        """For the journal and the report."""
        from runbook.postgres.wal import format_lsn

        return {
            "backup": self.label,
            "layout": self.layout,
            "PostgreSQL": self.major,
            "timeline": self.timeline,
            "start": format_lsn(self.start),
            "consistent at": format_lsn(self.end) if self.end is not None else "not recorded",
            "started": clock.stamp(self.started_at) if self.started_at else "not recorded",
            "manifest": "yes" if self.has_manifest else "no",
        }


@dataclass(frozen=True)
class NotProven:
    """A backup that a run does not restore, and why. `is_open`: it is as new as the one that is restored, and nothing explains it."""

    backup: Backup
    why: str
    is_open: bool = False


def looks_like_backup(folder: Path) -> bool:
    """True when some file of a base backup is in the folder."""
    names = ("PG_VERSION", "backup_label", "backup_manifest", "global", "pg_xact")
    return any((folder / name).exists() for name in names) or bool(_base_archives(folder))


def _base_archives(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("base.t*") if _BASE_ARCHIVE.fullmatch(path.name))


def form_not_read(folder: Path) -> str | None:
    """Return the name of a tar backup's file that is encrypted, split or packed in a form that is not read here; None when there is none."""
    names = [] if (folder / "PG_VERSION").exists() else _base_archives(folder)
    return names[0] if names and not set(names) & _READ else None


def list_folders(backup_folder: Path) -> list[Path]:
    """The folders that are, or were meant to be, finished backups.

    Raises:
        BackupDamaged: the folder is missing or holds none.
        NotMeasured: it holds none in a form that can be read.
        NotReadable: a folder is closed.
    """
    try:
        if not backup_folder.is_dir():
            raise BackupDamaged(
                f"The backup folder {backup_folder} is not there.", next="Correct backup_folder in params."
            )
        is_one = looks_like_backup(backup_folder)
        found = [backup_folder] if is_one else []
        found += [
            folder
            for folder in sorted(backup_folder.iterdir())
            if folder.is_dir()
            and not folder.name.endswith(_UNFINISHED)
            and folder.name not in _NO_BACKUPS
            and (looks_like_backup(folder) or not (is_one or any(folder.iterdir())))
        ]
        closed = [(folder, name) for folder in found if (name := form_not_read(folder)) is not None]
        found = [folder for folder in found if folder not in [one for one, _ in closed]]
    except PermissionError as cause:
        raise NotReadable(
            f"The backup folder {cause.filename or backup_folder} cannot be entered: {cause.strerror}.",
            next="Open it for the user who runs this.",
        ) from cause
    if closed and not found:
        folder, name = closed[-1]
        raise NotMeasured(
            f"Backup {folder} holds {name}, which is {_FORM}; there is no other.",
            next="Decrypt, join or unpack it into a folder of its own, and name that one as cluster.backup_folder in params.",
        )
    if not found:
        raise BackupDamaged(f"There is no base backup in {backup_folder}.", next="Take one with pg_basebackup.")
    return found


def list_passed_over(backup_folder: Path, known: Iterable[Path] = ()) -> list[str]:
    """Return what else lies in the backup folder and may be a backup, each with the reason why nobody proves it.

    Args:
        known: folders that are something else, such as the WAL archive.

    Raises:
        BackupDamaged: the folder is missing or holds no backup.
        NotReadable: a folder is closed.
    """
    taken, others = set(list_folders(backup_folder)), set(map(os.path.realpath, known))
    is_one = backup_folder in taken
    found = []
    for path in sorted(backup_folder.iterdir()):
        try:
            is_known = path in taken or os.path.realpath(path) in others
            why = None if is_known else _why_passed_over(path, is_part=is_one)
        except OSError as cause:
            why = f"cannot be read: {cause.strerror}"
        if why is not None:
            found.append(f"{visible_line(path.name)}: {why}")
    return found


def _why_passed_over(path: Path, *, is_part: bool) -> str | None:
    """Why this is not read as a backup; None when it is none by all that can be seen.

    Args:
        is_part: the folder that it lies in is a backup itself, and this a part of it, unless it is a whole one.
    """
    if path.is_symlink() and not path.exists():
        return f"a link to {visible_line(str(path.readlink()))}, which is not there"
    if not path.is_dir():
        return "a file, and no folder with a base backup" if _PACKED.search(path.name) and not is_part else None
    form = form_not_read(path)
    if form is not None:
        return f"holds {visible_line(form)}, which is {_FORM}"
    if looks_like_backup(path):
        kind = "not finished" if path.name.endswith(_UNFINISHED) else "no backup"
        return f"holds files of a base backup, and its name says that it is {kind}"
    inside = [one.name for one in path.iterdir()]
    if is_part or path.name in _NO_BACKUPS or all(_TABLESPACE.fullmatch(name) for name in inside):
        return None
    deeper = [one.name for one in sorted(path.iterdir()) if one.is_dir() and looks_like_backup(one)]
    if deeper:
        return f"a base backup lies one level deeper, in {visible_line(deeper[-1])}"
    return "a folder with none of the files by which a base backup is known"


def read_manifest(path: Path) -> dict[str, object] | None:
    """The manifest without its file list (which may be long); None when there is none.

    Raises:
        BackupDamaged: it is there and cannot be read.
    """
    manifest = path / "backup_manifest"
    if not manifest.exists():
        return None
    try:
        with manifest.open("rb") as file:
            head = file.read(4096).decode(errors="replace")
            file.seek(max(0, manifest.stat().st_size - 16384))
            tail = file.read().decode(errors="replace")
        identifier = re.search(r'"System-Identifier":\s*(\d+)', head)
        ranges = re.search(r'"WAL-Ranges":\s*(\[.*?\])', tail, re.DOTALL)
        if ranges is None:
            raise ValueError("no WAL-Ranges")
        found = [
            (int(item["Timeline"]), parse_lsn(item["Start-LSN"]), parse_lsn(item["End-LSN"]))
            for item in json.loads(ranges[1])
        ]
        return {"system": identifier[1] if identifier else None, "ranges": found}
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise BackupDamaged(
            f"The manifest of backup {path} (backup_manifest) cannot be read: {cause!r}", next="Take a new base backup."
        ) from cause


def _read_label(path: Path) -> dict[str, str]:
    label = path / "backup_label"
    if not label.is_file():
        return {}
    return {
        name.strip(): value.strip()
        for name, _, value in (line.partition(":") for line in label.read_text("utf-8", "replace").splitlines())
    }


def _parse_label_time(text: str) -> datetime | None:
    match = re.match(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (UTC|GMT|Z)$", text)
    # Another zone's abbreviation is ambiguous; the manifest's and WAL's positions decide then.
    return datetime.fromisoformat(match[1]).replace(tzinfo=UTC) if match else None


def describe(path: Path) -> Backup:
    """What the backup is.

    Raises:
        BackupDamaged: neither manifest nor label say where its WAL starts, or a file of it cannot be understood.
    """
    if not any(path.iterdir()):
        raise BackupDamaged(
            f"The backup folder {path} is empty.", next="Look at what removed it, or remove the folder."
        )
    try:
        return _describe(path)
    except UNREADABLE as cause:
        raise BackupDamaged(
            f"The backup {path} does not say what it is: its PG_VERSION, backup_label or base.tar cannot be read ({cause}).",
            next="Take a new base backup; look at what damaged this one.",
        ) from cause


def _describe(path: Path) -> Backup:
    is_tar = any(path.glob("base.tar*"))
    manifest = read_manifest(path)
    label = label_in_tar(path) if is_tar else _read_label(path)
    start = end = None
    timeline = None
    if manifest is not None:
        ranges = manifest["ranges"]
        assert isinstance(ranges, list)
        if ranges:
            start, end = ranges[0][1], ranges[-1][2]
            timeline = int(label.get("START TIMELINE") or ranges[-1][0])
    if start is None and label.get("START WAL LOCATION"):
        start = parse_lsn(label["START WAL LOCATION"].split()[0])
        timeline = int(label.get("START TIMELINE", "1"))
    if start is None or timeline is None:
        raise BackupDamaged(
            f"The backup {path} has neither a backup_manifest nor a backup_label: nothing says where its WAL starts.",
            next="Take a new base backup; look at who removed these files.",
        )
    version = path / "PG_VERSION"
    if not is_tar and not version.is_file():
        raise BackupDamaged(
            f"The backup {path} has no PG_VERSION, which every one has.",
            next="Take a new base backup; look at who removed this file.",
        )
    return Backup(
        path=path,
        label=visible_line(path.name),  # other bytes than UTF-8 can be used, but not printed
        layout="tar" if is_tar else "plain",
        major=int(version.read_text("utf-8").strip()) if version.is_file() else None,
        system_identifier=str(manifest["system"]) if manifest and manifest["system"] else None,
        timeline=timeline,
        start=start,
        end=end,
        started_at=_parse_label_time(label.get("START TIME", "")) or _manifest_time(path),
        has_manifest=manifest is not None,
        incremental="INCREMENTAL FROM LSN" in label,
    )


def _manifest_time(path: Path) -> datetime | None:
    """When the label was written, as the manifest tells it: the backup's start, for a label that is gone or zoned."""
    manifest = path / "backup_manifest"
    if not manifest.exists():
        return None
    with manifest.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if '"Path": "backup_label"' in line:
                match = re.search(r'"Last-Modified": "(\S+ \S+) GMT"', line)
                return datetime.fromisoformat(match[1]).replace(tzinfo=UTC) if match else None
    return None


def describe_all(backup_folder: Path) -> tuple[list[Backup], list[TargetError]]:
    """Every backup that can be described, oldest WAL first, and what is wrong with the others."""
    found: list[Backup] = []
    wrong: list[TargetError] = []
    for folder in list_folders(backup_folder):
        try:
            found.append(describe(folder))
        except TargetError as problem:
            problem.facts["folder"] = str(folder)
            wrong.append(problem)
    return sorted(found, key=lambda backup: backup.start), wrong
