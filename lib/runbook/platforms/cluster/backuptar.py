"""What a tar backup says of itself before it is unpacked: its label, its version, its system."""

from __future__ import annotations

import lzma
import re
import struct
import tarfile
import zlib
from pathlib import Path

from runbook.postgres.wal import SEGMENT_NAME, parse_segment_header

#: pg_control begins with the system identifier and its own version, in the byte order of the machine.
_CONTROL_HEAD = struct.Struct("=QI")
_CONTROL_VERSIONS = range(900, 3000)
#: What reading a file of a damaged backup may raise.
UNREADABLE = (ValueError, OSError, EOFError, tarfile.TarError, zlib.error, lzma.LZMAError)


def label_in_tar(path: Path) -> dict[str, str]:
    """backup_label stands at the start of base.tar; only the first members are read."""
    for archive in path.glob("base.tar*"):
        if archive.suffix in (".zst", ".lz4"):
            return {}
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.name == "backup_label":
                    file = tar.extractfile(member)
                    text = file.read().decode(errors="replace") if file else ""
                    return {n.strip(): v.strip() for n, _, v in (line.partition(":") for line in text.splitlines())}
                break
    return {}


def version_in_tar(path: Path) -> int | None:
    """The major version from base.tar's PG_VERSION, which may stand anywhere in it; None when it cannot be had."""
    for archive in path.glob("base.tar*"):
        if archive.suffix in (".zst", ".lz4"):
            return None
        try:
            with tarfile.open(archive) as tar:
                for member in tar:
                    file = tar.extractfile(member) if member.name == "PG_VERSION" else None
                    if file is not None:
                        return int(file.read())
        except UNREADABLE:
            return None  # unpacking says what is wrong with it
    return None


def system_in_control(head: bytes) -> str | None:
    """Return the system identifier with which a pg_control begins; None when these are no bytes of one.

    >>> system_in_control(_CONTROL_HEAD.pack(7421, 1300)), system_in_control(bytes(12)), system_in_control(b"")
    ('7421', None, None)
    """
    if len(head) < _CONTROL_HEAD.size:
        return None
    system, version = _CONTROL_HEAD.unpack_from(head)
    return str(system) if version in _CONTROL_VERSIONS else None


def system_in_tar(path: Path) -> str | None:
    """Return the system identifier that pg_control of an uncompressed base.tar names, or the backup's own WAL; None when it cannot be had.

    A compressed base.tar would have to be unpacked for it: pg_control is its last member.
    """
    head = _member_in_tar(path / "base.tar", re.compile("global/pg_control"))
    if head is not None:
        return system_in_control(head)
    for archive in path.glob("pg_wal.tar*"):
        header = parse_segment_header(_member_in_tar(archive, SEGMENT_NAME) or b"")
        if header is not None:
            return header.system_identifier
    return None


def _member_in_tar(archive: Path, name: re.Pattern[str]) -> bytes | None:
    """The first bytes of the first member of that name; None where there is none, or nothing can be read."""
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                file = tar.extractfile(member) if name.fullmatch(member.name) else None
                if file is not None:
                    return file.read(512)
    except UNREADABLE:
        return None  # unpacking says what is wrong with it
    return None
