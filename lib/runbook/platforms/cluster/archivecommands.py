"""The two commands of params behind which a WAL archive may lie: one that fetches a file, one that lists the names.

What a command says is not believed because it says so: code 0 counts only with a plain file, names count only where they have the
form of names of WAL files, and neither may print or run without an end.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from runbook import texts
from runbook.errors import CommandFailed, CommandTimedOut, StillArriving
from runbook.outside import commands
from runbook.outside.commands import OsUser
from runbook.params.schema import WalArchive as WalArchiveParams
from runbook.redact import scrubber

#: The highest code by which a fetch command says that there is no such file, as PostgreSQL reads restore_command.
_NO_SUCH_FILE = 125
#: What a list of names may come to: ten million segments.
_MOST_LISTED = 256 << 20
_LONGEST_LINE = 1 << 16
_SHOWN = 4000
#: A name of a WAL file as the last word of a line, such as `ls -l` or a tool's listing of paths prints it. A checksum and the suffix of
#: a compressed file are left out: the fetch command delivers the file under its plain name.
_LISTED = re.compile(
    rb"(?:^|[\s/])([0-9A-F]{24}(?:\.[0-9A-F]{8}\.backup|\.partial)?|[0-9A-F]{8}\.history)(?:-[0-9a-f]{40})?(?:\.(?:gz|zst|lz4|xz|bz2))?\s*$"
)


def fetch(
    params: WalArchiveParams, user: OsUser | None, env: Mapping[str, str | None], name: str, part: Path, ready: Path
) -> bool:
    """The fetch command has delivered the file, which lies at `ready`; False when it says that there is none.

    Args:
        part: where the command puts it, in a folder that `user` may write to.
        ready: in a folder that nobody else may write to.

    Raises:
        CommandTimedOut: the command hangs.
        CommandFailed: it could not do its work, or what it left does not fit what it said.
        StillArriving: it wrote a part of the file and then failed.
    """
    assert params.fetch_command is not None
    argv = [word.replace("%f", name).replace("%p", str(part)) for word in params.fetch_command]
    said = b""
    remove(part)
    try:
        with commands.lines(argv, timeout=params.fetch_timeout, user=user, env=env) as output:
            for chunk in output.chunks():
                said = (said + chunk)[-_SHOWN:]
    except CommandTimedOut as cause:
        raise CommandTimedOut(
            f"The command that fetches WAL did not deliver {name} within {params.fetch_timeout:.0f} s.",
            next="Look at what it waits for; fetch_timeout in the params file says how long it may take.",
        ) from cause
    words = _shown(output.stderr.strip() or said.decode("utf-8", "replace").strip()) or "it said nothing"
    code = output.code
    assert code is not None
    if code < 0 or code > _NO_SUCH_FILE:
        raise CommandFailed(
            f"The command that fetches WAL ended with code {code} for {name}: {words}",
            next="Look at wal_archive.fetch_command in params; for a file that is not there it ends with 1 to 125.",
        )
    left = _kind(part)
    if code != 0:
        if left == "a file" and part.stat().st_size:
            raise StillArriving(
                f"The command that fetches WAL ended with code {code} for {name} after it had written "
                f"{part.stat().st_size} bytes: {words}",
                next="The archived file may still be arriving, or is damaged: fetch it by hand and look whether it is whole.",
                segment=name,
            )
        return False
    if left not in ("a file", "a link"):
        raise CommandFailed(
            f"The command that fetches WAL ended with code 0 for {name} and left {left}: {words}",
            next="Correct wal_archive.fetch_command in params: it puts a file at %p and ends with 0, or it ends with 1 to 125.",
        )
    part.rename(ready)
    if left == "a file" and not os.access(ready, os.R_OK):
        remove(ready)
        raise CommandFailed(
            f"The command that fetches WAL left a file for {name} that cannot be read.",
            next="Correct wal_archive.fetch_command in params: its file at %p is readable for the user who runs this.",
        )
    if _kind(ready) != left:
        remove(ready)
        raise CommandFailed(
            f"What the command that fetches WAL left for {name} was changed while it was taken over.",
            next="Look for other processes that the command has started.",
        )
    return True


def _kind(path: Path) -> str:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return "nothing"
    if stat.S_ISREG(mode):
        return "a file"
    if stat.S_ISLNK(mode):
        return "a link"
    return "a folder" if stat.S_ISDIR(mode) else "something that is no file"


def remove(path: Path) -> None:
    """What lies there is gone, whatever it is."""
    if _kind(path) == "a folder":
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def list_names(params: WalArchiveParams, user: OsUser | None, env: Mapping[str, str | None]) -> frozenset[str]:
    """Return the names of WAL files that the list command prints, as the last word of its lines.

    Raises:
        CommandTimedOut, CommandFailed: it could not do its work, prints without an end, or prints lines of which none ends in such a
            name.
    """
    assert params.list_command is not None
    names: set[str] = set()
    first, count, total, rest = b"", 0, 0, b""
    with commands.lines(params.list_command, timeout=params.fetch_timeout, user=user, env=env) as output:
        for chunk in output.chunks():
            total += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            if total > _MOST_LISTED or len(rest) > _LONGEST_LINE:
                raise _no_list(f"prints {'lines' if total > _MOST_LISTED else 'a line'} without an end", rest or first)
            for line in lines:
                first, count = first or line, count + 1
                _add_name(names, line)
    _add_name(names, rest)
    first = first or rest
    if output.code != 0:
        raise CommandFailed(
            f"The command that lists WAL ended with code {output.code}: "
            f"{_shown(output.stderr.strip() or first.decode('utf-8', 'replace')) or 'it said nothing'}",
            next="Run wal_archive.list_command of the params file by hand.",
        )
    if not names and first.strip():
        raise _no_list(f"printed {max(count, 1)} lines, and none ends in the name of a WAL file", first)
    return frozenset(names)


def _add_name(names: set[str], line: bytes) -> None:
    match = _LISTED.search(line)
    if match is not None:
        names.add(match[1].decode("ascii"))


def _no_list(what: str, line: bytes) -> CommandFailed:
    return CommandFailed(
        f"The command that lists WAL {what}: '{_shown(line.decode('utf-8', 'replace'))[:200]}'.",
        next="Correct wal_archive.list_command in params: it prints the name of each archived file on a line of its own.",
    )


def _shown(text: str) -> str:
    return texts.visible_line(scrubber.text(text[-_SHOWN:]))
