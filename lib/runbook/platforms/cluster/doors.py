"""Closing a cluster by pg_hba.conf: nobody but the operator and the reader comes in; opening puts the old file back as it was, the very same one.

The original is renamed, never rewritten: `<pg_hba.conf>.before-<run>` is the same file with its owner, mode and times. Files
tell where a closing stands, so each act may be called again after a crash.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runbook.disk import sync_folder
from runbook.errors import OperatorError, PlatformError
from runbook.platforms.cluster import ways
from runbook.platforms.cluster.hbalines import REFUSALS, Way, narrow, read_rules
from runbook.platforms.cluster.live import LiveFacts, LiveServer, read_facts
from runbook.postgres.connect import Connection, one, rows
from runbook.postgres.sqlfiles import load_sql

_RELOAD_SECONDS = 10.0
_CLOSED_BY = "# closed by runbook run "
_LEFT_OUT = "# left out: "


@dataclass(frozen=True)
class Closed:
    """A closed door. `lines` let the operator in; `left_out` are lines of the original that could not be judged or are wrong."""

    hba_file: str
    kept_as: str
    lines: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Doors:
    """One pg_hba.conf and the run that closes it."""

    hba_file: Path
    run_id: str

    @property
    def real(self) -> Path:
        """The file itself: a link to it stays what it is."""
        return self.hba_file.resolve()

    @property
    def before(self) -> Path:
        """Where the original is kept meanwhile."""
        return self.real.with_name(f"{self.real.name}.before-{self.run_id}")

    @property
    def _mark(self) -> str:
        return f"{_CLOSED_BY}{self.run_id}, "

    def is_closed(self) -> bool:
        """True when the file is the one that we wrote, unchanged, and the original is kept."""
        return self.before.exists() and self._is_ours(self.real)

    def _is_ours(self, path: Path) -> bool:
        with suppress(FileNotFoundError):
            head, _, body = path.read_bytes().partition(b"\n")
            return head == self._head(body)
        return False

    def _head(self, body: bytes) -> bytes:
        return f"{self._mark}sha256 of the rest {hashlib.sha256(body).hexdigest()}".encode()

    def original(self) -> Path:
        """The file that counts when the door is open."""
        return self.before if self.is_closed() else self.real

    def close_file(
        self, way: Way, wrong: Collection[tuple[str, int]] = (), others: Sequence[Way] = (), missed: Sequence[str] = ()
    ) -> Closed:
        """Only that way, and the others, lead in once the server reads the file; safe twice.

        Args:
            wrong: files and lines of the original that the server refuses.
            others: further ways to be let in as far as the original does: the reader's.
            missed: what is to be said of ways that are not known.

        Raises:
            OperatorError: no line of the original would let that role in, so that we would shut ourselves out.
            PlatformError: the file cannot be read or written.
        """
        try:
            narrowed = narrow(read_rules(self.original()), way, wrong)
            if not narrowed.lets_in:
                raise OperatorError(
                    f"No line of {self.hba_file} lets {way.role} in {_way_words(way)}, so closing it would shut us out too.",
                    next="Correct cluster.connection or that file, then resume.",
                )
            if not self.is_closed():
                self._refuse_foreign_closing()
                further = [narrow(read_rules(self.original()), other, wrong) for other in others]
                lines = [line for one_ in (narrowed, *further) for line in one_.lines]
                left_out = [said for one_ in (narrowed, *further) for said in one_.left_out]
                self._keep_original()
                self._write([*dict.fromkeys([*left_out, *missed])], list(dict.fromkeys(lines)))
            written = self.real.read_text("utf-8", "surrogateescape").splitlines()
        except OSError as cause:
            raise PlatformError(
                f"{cause.filename or self.hba_file} cannot be read or written: {cause.strerror}.",
                next="Run as the user who owns the cluster's configuration, or as root; then resume.",
            ) from cause
        rules = tuple(line for line in written if line and not line.startswith("#") and line not in REFUSALS)
        said = tuple(line.removeprefix(_LEFT_OUT) for line in written if line.startswith(_LEFT_OUT))
        return Closed(str(self.hba_file), str(self.before), rules, said)

    def _refuse_foreign_closing(self) -> None:
        """Another run's closed file is not taken for an original: lifting our lock-down would leave the database closed."""
        head = self.real.read_bytes().partition(b"\n")[0].decode(errors="replace")
        if head.startswith(_CLOSED_BY) and not head.startswith(self._mark):
            other = head.removeprefix(_CLOSED_BY).split(",")[0]
            raise OperatorError(
                f"{self.hba_file} was closed by run {other}, and never opened again.",
                next=f"{Doors(self.hba_file, other).undo_words()}; then resume.",
            )

    def _keep_original(self) -> None:
        """The present file is kept under the other name too; one kept earlier that differs from it is kept beside."""
        if self.before.exists() and not self.before.samefile(self.real):
            if self.before.read_bytes() != self.real.read_bytes():
                # Somebody wrote the file anew while it was closed: theirs counts now, and the older one is not lost.
                self.before.replace(self.before.with_name(f"{self.before.name}.older-{time.time_ns()}"))
            else:
                self.before.unlink()
        if not self.before.exists():
            os.link(self.real, self.before)
            sync_folder(self.before.parent)

    def _write(self, left_out: Sequence[str], lines: Sequence[str]) -> None:
        note = f"# The original is {self.before}. To open by hand: mv it back to {self.real}, then reload the server."
        said = [_LEFT_OUT + one_.replace("\n", " ").rstrip("\\") for one_ in left_out]
        self._replace("\n".join([note, *said, *lines, *REFUSALS, ""]).encode(errors="surrogateescape"))

    def change_lines(self, change: Callable[[list[str]], list[str]]) -> None:
        """The closed file has other lines of ours: a further role's come first, or are gone.

        Raises:
            PlatformError: the database is not closed by this run, or the file cannot be written.
        """
        if not self.is_closed():
            raise PlatformError(
                f"{self.hba_file} is not as this run has closed it.", next="runbook resume " + self.run_id
            )
        try:
            _, *lines = self.real.read_text("utf-8", "surrogateescape").splitlines()
            self._replace("\n".join([*change(lines), ""]).encode(errors="surrogateescape"))
        except OSError as cause:
            raise PlatformError(
                f"{self.hba_file} cannot be written: {cause.strerror}.",
                next="Run as the user who owns the cluster's configuration, or as root; then resume.",
            ) from cause

    def _replace(self, body: bytes) -> None:
        """The file is this one, with a first line that says whose it is; the owner and mode are the original's."""
        kept = self.before.stat()
        new = self.real.with_name(f"{self.real.name}.closing-{self.run_id}")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(self._head(body) + b"\n" + body)
            if os.geteuid() == 0:
                os.fchown(file.fileno(), kept.st_uid, kept.st_gid)
            os.fchmod(file.fileno(), kept.st_mode & 0o7777)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.real)
        sync_folder(self.real.parent)

    def open_file(self) -> Path | None:
        """The original stands in its place again, the same file; safe twice.

        Returns:
            Where the file went that stood there, when somebody had changed it meanwhile; else None.

        Raises:
            PlatformError: it cannot be put back.
        """
        try:
            self.real.with_name(f"{self.real.name}.closing-{self.run_id}").unlink(missing_ok=True)
            if not self.before.exists():
                return None
            if self.real.exists() and self.real.samefile(self.before):
                self.before.unlink()  # a closing that was cut short: both names are the original
                return None
            changed = None
            if self.real.exists() and not self._is_ours(self.real):
                changed = self.real.with_name(f"{self.real.name}.changed-during-{self.run_id}")
                self.real.replace(changed)
            self.before.replace(self.real)
            sync_folder(self.real.parent)
        except OSError as cause:
            raise PlatformError(
                f"{self.before} cannot be put back: {cause.strerror}.",
                next=f"mv {self.before} {self.real}, then reload.",
            ) from cause
        return changed

    def undo_words(self) -> str:
        """How to open by hand."""
        return f"mv {self.before} {self.real}, then reload the server (SELECT pg_reload_conf() or pg_ctl reload)"


def _way_words(way: Way) -> str:
    return "over the local socket" if way.is_local else f"from {way.address or 'a network address'}"


def close(server: LiveServer, run_id: str) -> Closed:
    """The running server lets in nobody but us and the reader, has read that, and we have been in again since; safe twice.

    The new file is judged by the server before it is told to read it. When it is wrong, or when we could not come in again, the
    original is back and in force. Sessions that are open stay: see `sessions.end_sessions`.

    Raises:
        OperatorError: we are not a superuser, or no line would let us in.
        PlatformError: it could not be closed; the door is as it was.
    """
    with server.connect(read_only=False) as connection:
        facts = read_facts(connection)
        if not facts.is_superuser:
            raise OperatorError(
                f"{facts.role} is not a superuser: a lock-down ends other sessions and reloads the server.",
                next="Name a superuser's connection under cluster.connection in params.",
            )
        doors = Doors(Path(facts.hba_file), run_id)
        if not doors.hba_file.exists():
            raise PlatformError(
                f"The server's {facts.hba_file} is not within reach of this machine.",
                next="Run where the cluster's files are.",
            )
        was_closed = doors.is_closed()
        wrong = set() if was_closed else {(file, line) for file, line, _ in hba_errors(connection, doors.hba_file)}
        others, missed = ways.reader_way(server)
        closed = doors.close_file(ways.way_of(connection, facts), wrong, others, missed)
        try:
            _require_sound(connection, closed)
            _reload_and_come_in_again(server, connection, facts)
        except BaseException:
            if not was_closed:
                doors.open_file()
                one(connection, load_sql("lockdown/reload").text)
            raise
    return closed


def let_in(server: LiveServer, hba_file: Path, run_id: str, line: str) -> None:
    """One more line of the closed file comes first, and the server has read it; safe twice.

    Raises:
        PlatformError: the database is not closed by this run, or the server refuses the line; it is out again then.
    """
    doors = Doors(hba_file, run_id)
    with server.connect(read_only=False) as connection:
        facts = read_facts(connection)
        doors.change_lines(lambda lines: [line, *(other for other in lines if other != line)])
        errors = hba_errors(connection, hba_file)
        if errors:
            doors.change_lines(lambda lines: [other for other in lines if other != line])
            raise PlatformError(
                f"The server would refuse a line for {hba_file}: {errors[0][2]}.", next="Look at the file; then resume."
            )
        _reload_and_come_in_again(server, connection, facts)


def shut_out(server: LiveServer, hba_file: Path, run_id: str, about: Callable[[str], bool]) -> None:
    """Those lines are out of the closed file, and the server has read it; safe twice, and when the file is open again."""
    doors = Doors(hba_file, run_id)
    if not doors.is_closed() or not any(map(about, doors.real.read_text("utf-8", "surrogateescape").splitlines())):
        return
    with server.connect(read_only=False) as connection:
        facts = read_facts(connection)
        doors.change_lines(lambda lines: [line for line in lines if not about(line)])
        _reload_and_come_in_again(server, connection, facts)


def hba_errors(connection: Connection, hba_file: Path) -> list[tuple[str, int, str]]:
    """What the server would refuse of its pg_hba.conf as it stands on disk: file, line, why."""
    found = rows(connection, load_sql("lockdown/list_hba_errors").text)
    return [(str(Path(row["file"] or hba_file).resolve()), int(row["line"] or 0), str(row["error"])) for row in found]


def _require_sound(connection: Connection, closed: Closed) -> None:
    errors = hba_errors(connection, Path(closed.hba_file))
    if errors:
        raise PlatformError(
            f"The server would refuse the closed {closed.hba_file}, line {errors[0][1]}: {errors[0][2]}; the original is back.",
            next="Close the database by hand (pg_hba.conf, or the network), then resume.",
        )
    seen = one(connection, load_sql("lockdown/count_hba_rules").text)
    if (seen["rules"], seen["refusals"]) != (len(closed.lines) + len(REFUSALS), len(REFUSALS)):
        raise PlatformError(
            f"The server reads another {closed.hba_file} than this machine sees: {seen['rules']} rules stand in its own.",
            next="Run where the cluster's files are.",
        )


def _reload_and_come_in_again(server: LiveServer, connection: Connection, facts: LiveFacts) -> None:
    """The server has read its configuration anew, and we came in by a new connection afterwards."""
    one(connection, load_sql("lockdown/reload").text)
    deadline = time.monotonic() + _RELOAD_SECONDS
    problem = "it does not say that it has read its configuration"
    while time.monotonic() < deadline:
        try:
            with server.connect() as again:
                if read_facts(again).loaded_at > facts.loaded_at:
                    return
        except PlatformError as cause:
            problem = cause.message
        time.sleep(0.05)
    raise PlatformError(
        f"With {facts.hba_file} closed we did not come in again ourselves, so it was opened again: {problem}",
        next="Look at the lines for our own role; close the database by hand, then resume.",
    )


@dataclass(frozen=True)
class Opened:
    """An open door. `problems` say why the original is not in force, or what else somebody must look at."""

    hba_file: str
    was_closed: bool
    in_force: bool
    problems: tuple[str, ...]


def open_again(server: LiveServer, hba_file: Path, run_id: str) -> Opened:
    """The original file is in its place, byte for byte; a running server has read it; safe twice.

    Raises:
        PlatformError: the file cannot be put back.
    """
    doors = Doors(hba_file, run_id)
    was_closed = doors.before.exists()
    connection = _try_connect(server)
    try:
        problems = []
        changed = doors.open_file()
        if changed is not None:
            problems.append(f"{hba_file} was changed while it was closed: that version is kept as {changed}.")
        if connection is None:
            is_up = server.is_up()
            if is_up:
                problems.append(
                    "The server runs and does not let us in: it reads the file at its next reload or start."
                )
            return Opened(str(hba_file), was_closed, not is_up, tuple(problems))
        errors = hba_errors(connection, hba_file)
        if errors and was_closed:
            problems += [
                f"{file}:{line}: {why}. The server refuses the original, so the closed rules stay in force until it is corrected "
                "and reloaded; it would not start with it."
                for file, line, why in errors
            ]
        before = read_facts(connection).loaded_at
        one(connection, load_sql("lockdown/reload").text)
        deadline = time.monotonic() + _RELOAD_SECONDS
        while not errors and time.monotonic() < deadline:
            again = _try_connect(server)
            if again is not None:
                with again:
                    if read_facts(again).loaded_at > before:
                        return Opened(str(hba_file), was_closed, True, tuple(problems))
            time.sleep(0.05)
        if not errors:
            problems.append("The server does not say that it has read its configuration: reload it.")
        return Opened(str(hba_file), was_closed, False, tuple(problems))
    finally:
        if connection is not None:
            connection.close()


def _try_connect(server: LiveServer) -> Connection | None:
    try:
        return server.connect(read_only=False) if server.is_up() else None
    except PlatformError:
        return None
