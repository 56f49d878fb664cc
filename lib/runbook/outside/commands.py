"""Outside commands: an argv list, one runner, a timeout each, no shell.

A command may run as another operating-system user (PostgreSQL refuses root). Of our environment it gets what
`environment` lists, a run's mark among it; secrets are given by `env`, never in argv.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import pwd
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runbook import environment, texts
from runbook.errors import CommandFailed, CommandTimedOut, OperatorError
from runbook.redact import scrubber

_TAIL = 4000
#: Seconds that poll(2) can wait, a little less: it counts milliseconds in 31 bits.
_LONGEST_WAIT = 2e6
#: Bytes that a command may print into the temporary file from which its last lines are read, and seconds between two looks at it.
_MOST_OUTPUT, _OUTPUT_LOOK = 64 << 20, 0.5


@dataclass(frozen=True)
class OsUser:
    """An operating-system user that a command runs as."""

    name: str
    uid: int
    gid: int

    @classmethod
    def named(cls, name: str) -> OsUser:
        """The user of that name.

        Raises:
            OperatorError: there is none.
        """
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise OperatorError(f"There is no operating-system user '{name}'.", next="Name one that exists.") from None
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def said(self) -> str:
        """The last of what it printed, for a message."""
        return scrubber.text((self.stderr.strip() or self.stdout.strip())[-_TAIL:])


def _popen(
    argv: Sequence[str],
    user: OsUser | None,
    env: Mapping[str, str | None] | None,
    stdout: int,
    stderr: int | None,
    stdin: int = subprocess.DEVNULL,
    *,
    own_session: bool = True,
) -> subprocess.Popen[str]:
    identity: dict[str, object] = {}
    if user is not None and os.geteuid() == 0 and user.uid != 0:
        identity = {"user": user.uid, "group": user.gid, "extra_groups": []}
    program = texts.visible_line(texts.cut(argv[0], 200))
    try:
        process: subprocess.Popen[str] = subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            encoding="utf-8",
            errors="backslashreplace",
            env=environment.for_child({"LC_ALL": "C", "TZ": "UTC", **(env or {})}),
            cwd="/",  # a folder that any user may enter; relative paths have no place in argv
            start_new_session=own_session,
            **identity,  # type: ignore[call-overload]
        )
    except FileNotFoundError as cause:
        raise CommandFailed(f"The program {program} is not there.", next="runbook doctor", argv=list(argv)) from cause
    except PermissionError as cause:
        raise CommandFailed(
            f"The program {program} may not be run{f' by user {user.name}' if user else ''}: {cause.strerror}.",
            next="runbook doctor says which folder is closed.",
            argv=list(argv),
        ) from cause
    except (OSError, ValueError) as cause:
        # ENOEXEC (a script without its first line), E2BIG, ENOMEM; a NUL in a word.
        raise CommandFailed(
            f"The program {program} cannot be started: {_why(cause)}.", next=f"ls -l {program}", argv=list(argv)
        ) from cause
    return process


def _why(cause: OSError | ValueError) -> str:
    if isinstance(cause, OSError) and cause.errno == errno.ENOEXEC:
        return "it is no program, and no script that begins with a line such as #!/bin/sh"
    if isinstance(cause, OSError):
        return str(cause.strerror)
    return str(cause)


def _end(process: subprocess.Popen[str]) -> None:
    """End the command and what it started: it leads its own session, unless it shares ours to ask at the terminal."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            process.send_signal(number)
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            continue
        return


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    user: OsUser | None = None,
    env: Mapping[str, str | None] | None = None,
    check: bool = True,
    stdin: bytes | None = None,
    attended: bool = False,
) -> Result:
    """The command has ended; its output is in the result.

    Args:
        argv: program and arguments, absolute paths.
        timeout: seconds; the command and its children are ended after it.
        user: who runs it, when we are root.
        env: additions to the environment; None takes a variable out of it.
        check: raise when its code is not 0.
        stdin: ASCII text that it reads; without it there is nothing to read.
        attended: a person sits at our terminal: the command may ask there (a passphrase, a PIN), and its standard
            error stands there instead of in the result.

    Raises:
        CommandFailed: it could not start, or ended with another code than 0 and `check` is set.
        CommandTimedOut: it did not end in time.
    """
    began = time.monotonic()
    given = subprocess.DEVNULL if stdin is None else subprocess.PIPE
    # In a session of its own a command has no terminal to ask at.
    stderr_to = None if attended else subprocess.PIPE
    process = _popen(argv, user, env, subprocess.PIPE, stderr_to, given, own_session=not attended)
    try:
        given_text = None if stdin is None else stdin.decode("ascii")
        stdout, stderr = process.communicate(given_text, timeout=min(timeout, _LONGEST_WAIT))
    except subprocess.TimeoutExpired:
        _end(process)
        process.communicate()
        raise CommandTimedOut(
            f"{Path(argv[0]).name} did not end within {timeout:.0f} s and was stopped.",
            next="Look at what it waits for; raise the timeout in params if it needs longer.",
            argv=list(argv),
        ) from None
    except BaseException:
        _end(process)
        process.communicate()
        raise
    result = Result(tuple(argv), process.returncode, stdout, stderr or "", time.monotonic() - began)
    if check and result.code != 0:
        raise CommandFailed(
            f"{Path(argv[0]).name} ended with code {result.code}: {result.said}",
            argv=list(argv),
            code=result.code,
        )
    return result


def run_and_leave(
    argv: Sequence[str], *, timeout: float, user: OsUser | None = None, env: Mapping[str, str | None] | None = None
) -> Result:
    """The command has ended; what it started and left running lives on, and is not waited for.

    Its output goes to a file: a server that a start command leaves behind keeps a pipe open, and whoever reads that pipe
    would wait for the server's end. No code is refused: the caller judges it.

    Raises:
        CommandFailed: it could not start.
        CommandTimedOut: it did not end in time; it and the children in its session were stopped.
    """
    began = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = _popen(argv, user, env, out.fileno(), err.fileno())
        try:
            code = _wait_within(process, argv, timeout, (out.fileno(), err.fileno()))
        except BaseException:
            _end(process)
            raise
        said = []
        for file in (out, err):
            file.seek(max(0, file.seek(0, os.SEEK_END) - 10 * _TAIL))
            said.append(file.read().decode(errors="backslashreplace"))
    return Result(tuple(argv), code, said[0], said[1], time.monotonic() - began)


def _wait_within(process: subprocess.Popen[str], argv: Sequence[str], timeout: float, files: Sequence[int]) -> int:
    """Return the code with which the command ended, in time and with no more output than a disk can bear.

    Raises:
        CommandTimedOut: it did not end in time.
        CommandFailed: it printed more than `_MOST_OUTPUT` bytes.
    """
    until = time.monotonic() + timeout
    while True:
        left = until - time.monotonic()
        try:
            return process.wait(max(0.0, min(left, _OUTPUT_LOOK)))
        except subprocess.TimeoutExpired:
            if left <= _OUTPUT_LOOK:
                raise CommandTimedOut(
                    f"{Path(argv[0]).name} did not end within {timeout:.0f} s and was stopped.",
                    next="Look at what it waits for; raise the timeout in params if it needs longer.",
                    argv=list(argv),
                ) from None
        printed = sum(os.fstat(file).st_size for file in files)
        if printed > _MOST_OUTPUT:
            raise CommandFailed(
                f"{Path(argv[0]).name} printed more than {_MOST_OUTPUT >> 20} MiB and was stopped.",
                next="Let the command print less, or write to a file of its own.",
                argv=list(argv),
            )


class Lines:
    """The lines of a running command; `code` and `stderr` are there once all lines are read."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._errors: list[str] = []
        self.code: int | None = None

    def __iter__(self) -> Iterator[str]:
        assert isinstance(self._process.stdout, io.TextIOWrapper)
        self._process.stdout.reconfigure(newline="\n")  # a carriage return in a name ends no line
        yield from self._process.stdout
        self.code = self._process.wait()

    def blocks(self, size: int = 1 << 20) -> Iterator[bytes]:
        """The output as blocks of about that many bytes, each of whole lines: for what reads more than single lines bear."""
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        grow = getattr(fcntl, "F_SETPIPE_SZ", None)  # Linux: fewer switches between writer and reader
        if grow is not None:
            with contextlib.suppress(OSError):  # the system's limit is lower; the usual size does too
                fcntl.fcntl(handle, grow, size)
        held: list[bytes] = []
        length = 0
        while part := os.read(handle, size):
            held.append(part)
            length += len(part)
            if length >= size and (end := part.rfind(b"\n") + 1):
                held[-1] = part[:end]
                yield b"".join(held)
                held, length = [part[end:]], len(part) - end
        if length:
            yield b"".join(held)
        self.code = self._process.wait()

    def chunks(self, size: int = 1 << 16) -> Iterator[bytes]:
        """The output as it comes, whatever it is: also what has no lines, or no end."""
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        while part := os.read(handle, size):
            yield part
        self.code = self._process.wait()

    @property
    def stderr(self) -> str:
        return "".join(self._errors)

    def collect_errors(self) -> None:
        assert self._process.stderr is not None
        while line := self._process.stderr.readline(_TAIL):  # a line without an end takes no more room
            if len(self._errors) < 200:
                self._errors.append(line)


@contextlib.contextmanager
def lines(
    argv: Sequence[str],
    *,
    timeout: float,
    user: OsUser | None = None,
    env: Mapping[str, str | None] | None = None,
) -> Iterator[Lines]:
    """A command whose standard output is read line by line, with flat memory.

    Leaving the block ends the command if it still runs. The caller looks at `code` and `stderr`.

    Args:
        env: additions to the environment; None takes a variable out of it.

    Raises:
        CommandTimedOut: it did not end in time.
    """
    process = _popen(argv, user, env, subprocess.PIPE, subprocess.PIPE)
    out = Lines(process)
    timed_out = threading.Event()

    def give_up() -> None:
        timed_out.set()
        _end(process)

    timer = threading.Timer(timeout, give_up)
    reader = threading.Thread(target=out.collect_errors, daemon=True)
    timer.start()
    reader.start()
    try:
        yield out
    finally:
        timer.cancel()
        if process.poll() is None:
            _end(process)
        reader.join(5)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    if timed_out.is_set():
        raise CommandTimedOut(f"{Path(argv[0]).name} did not end within {timeout:.0f} s.", argv=list(argv))


def detach(argv: Sequence[str], *, log: Path, env: Mapping[str, str | None]) -> int:
    """A process of its own session runs on without us; its output is appended to the log.

    Args:
        env: additions to the environment; None takes a variable out of it.

    Returns:
        Its process id. Whoever starts it here and lives on reaps it with `reap`.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        argv[0],
        list(argv),
        environment.for_child(env),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def reap(pid: int) -> None:
    """The process leaves no zombie if it was our child and has ended; else nothing happens."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
