"""What pg_dump makes of the restored copy, entry by entry: each told by the catalog and the OID of its object, in an order that works.

The archive is pg_dump's own format, so that an entry is what pg_dump made one: in its script a comment or a function's body could look like
the heading of another one.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from runbook.errors import CommandFailed
from runbook.outside import commands
from runbook.outside.commands import OsUser
from runbook.recovery.remaking import SchemaDump
from runbook.redact import scrubber

_ENTRY = re.compile(r"^(\d+); (\d+) (\d+) (.*)$", re.MULTILINE)
#: The last of the settings that stand ahead of every script.
_LAST_SETTING = "SET row_security = off;\n"
_END = "\n--\n-- PostgreSQL database dump complete\n"


@dataclass(frozen=True)
class ArchiveEntry:
    """One entry. `number` is pg_dump's own; `words` say what it is, for people."""

    number: int
    object: tuple[int, int]
    words: str


def parse_list(listed: str) -> list[ArchiveEntry]:
    """Return the entries of pg_restore --list in their order, without those that have no object of their own.

    >>> parse_list(";\\n; Archive created\\n3; 2615 2200 SCHEMA - public o\\n9; 0 0 ACL public TABLE t o\\n")
    [ArchiveEntry(number=3, object=(2615, 2200), words='SCHEMA - public o')]
    """
    return [
        ArchiveEntry(int(match[1]), (int(match[2]), int(match[3])), match[4])
        for match in _ENTRY.finditer(listed)
        if int(match[2])
    ]


def statements_of(script: str) -> str:
    """Return the entry's statements, without the settings ahead of them and psql's own commands.

    >>> statements_of("--\\n-- x\\n--\\n\\n\\\\restrict a\\nSET row_security = off;\\n\\n--\\n-- Name: t; Type: T\\n--\\n\\nCREATE TABLE t;\\n\\n\\n"
    ...     "--\\n-- PostgreSQL database dump complete\\n--\\n\\n")
    'CREATE TABLE t;'

    Raises:
        CommandFailed: it is not laid out as a script of pg_restore's.
    """
    _, found, rest = script.partition(_LAST_SETTING)
    body, ends, _ = rest.rpartition(_END)
    if not (found and ends):
        raise CommandFailed("pg_restore wrote a script that has no beginning or no end.", next="runbook doctor")
    lines = body.split("\n")
    while lines and (not lines[0].strip() or lines[0].startswith("--")):
        del lines[0]
    # An index or a table stands behind settings of its tablespace, and its heading behind those.
    head = next((at for at, line in enumerate(lines) if line and not line.startswith(("SET default_", "--"))), 0)
    return "\n".join([*(line for line in lines[:head] if line.startswith("SET ")), *lines[head:]]).strip()


def _output(
    argv: Sequence[str], timeout: float, user: OsUser | None = None, env: Mapping[str, str | None] | None = None
) -> bytes:
    """What the command printed, byte for byte."""
    with commands.lines(argv, timeout=timeout, user=user, env=env) as output:
        said = b"".join(output.chunks())
    if output.code != 0:
        raise CommandFailed(
            f"{Path(argv[0]).name} ended with code {output.code}: {scrubber.text(output.stderr.strip()[-500:])}",
            argv=list(argv),
        )
    return said


@dataclass
class SchemaArchive:
    """The definitions of one database of the restored copy. Read when it is first asked; used in a `with` block, its file is gone after it."""

    dump: SchemaDump
    database: str
    _folder: tempfile.TemporaryDirectory[str] | None = None
    _known: dict[int, str] = field(default_factory=dict)
    _entries: list[ArchiveEntry] | None = None

    def __enter__(self) -> SchemaArchive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def dump_argv(self) -> list[str]:
        """pg_dump of all definitions."""
        return [self.dump.tools.path("pg_dump"), "--format=custom", "--schema-only", "--encoding=UTF8", "--no-password"]

    def _file(self) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="rb-definitions-")
            path = Path(self._folder.name) / "definitions"
            env = {**self.dump.env, "PGDATABASE": self.database}
            path.write_bytes(_output(self.dump_argv(), self.dump.timeout, self.dump.user, env))
        return Path(self._folder.name) / "definitions"

    @property
    def entries(self) -> list[ArchiveEntry]:
        """In the order in which they can be made.

        Raises:
            CommandFailed, CommandTimedOut: pg_dump or pg_restore did not do it.
        """
        if self._entries is None:
            argv = [self.dump.tools.path("pg_restore"), "--list", str(self._file())]
            self._entries = parse_list(_output(argv, self.dump.timeout).decode("utf-8", "replace"))
        return self._entries

    def statements(self, entry: ArchiveEntry) -> str:
        """Return what makes the entry.

        Raises:
            CommandFailed, CommandTimedOut: pg_restore did not do it.
        """
        if entry.number not in self._known:
            path = self._file()
            chosen = path.with_name("chosen")
            chosen.write_text(f"{entry.number}; {entry.object[0]} {entry.object[1]}\n", "ascii")
            argv = [self.dump.tools.path("pg_restore"), f"--use-list={chosen}", "--file=-", str(path)]
            said = _output(argv, self.dump.timeout)
            try:
                self._known[entry.number] = statements_of(said.decode())
            except UnicodeDecodeError:
                raise CommandFailed(f"What pg_dump says of {entry.words} is no UTF-8.", next="runbook doctor") from None
        return self._known[entry.number]

    def of(self, objects: Sequence[tuple[int, int]]) -> dict[tuple[int, int], ArchiveEntry]:
        """Return the entries of these objects."""
        wanted = set(objects)
        return {entry.object: entry for entry in self.entries if entry.object in wanted}
