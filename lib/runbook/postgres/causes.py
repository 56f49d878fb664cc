"""What an error of a PostgreSQL server is evidence of: of damage, or of something that this host lacks, somebody holds, or a limit.

A restore is verified on another host than production's, which may lack an extension's library, a locale, memory or disk. That says nothing
about the backup. The SQLSTATE decides where it tells them apart; where it does not (58P01 is a missing library and a missing relation file),
or where only words are left (a server's log, pg_amcheck's report, a refused connection), the words decide. They are English: every session and
server of ours has lc_messages = C. Pure, but for reading what the driver keeps of an error.

Source: PostgreSQL 15 to 18, errcodes.txt and the messages of dfmgr.c, fd.c, md.c, pg_locale.c, sysv_shmem.c, ts_utils.c, verify_nbtree.c.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

from runbook import texts


class Cause(StrEnum):
    """What an error is evidence of. Only DAMAGE says something against the data."""

    LIBRARY = "an extension's library"
    LOCALE = "a locale or collation"
    SEARCH_FILE = "a file of text search"
    ZONES = "time zone data"
    BUILD = "another build of PostgreSQL"
    MEMORY = "memory"
    FILES = "open files"
    DISK = "disk space"
    ACCESS = "access to a file"
    HELD = "a lock"
    LIMIT = "a limit of PostgreSQL"
    NAMES = "names without a schema"
    DAMAGE = "damage"
    UNKNOWN = "unknown"

    @property
    def is_host(self) -> bool:
        """True when this host lacks something that production's has."""
        return self in _ADVICE


_ADVICE = {
    Cause.LIBRARY: "Install production's extensions on this host, or name the bin_directory of an installation that has them in params; one that "
    "must be preloaded also belongs into verification.preload_libraries. Then run again.",
    Cause.LOCALE: "Install production's locales and the same version of the C library or ICU on this host (localedef, locale-gen), then run again.",
    Cause.SEARCH_FILE: "Copy production's files of $(pg_config --sharedir)/tsearch_data to this host's installation, then run again.",
    Cause.ZONES: "Install production's version of the time zone data (tzdata) on this host, then run again.",
    Cause.BUILD: "Name the bin_directory of an installation that was built like production's in params.",
    Cause.MEMORY: "Free memory, or raise the limits of memory, shared memory and huge pages for the user who runs this, then run again.",
    Cause.FILES: "Raise the limit of open files for the user who runs this (ulimit -n), then run again.",
    Cause.DISK: "Free space there, or name another place with -p scratch /path (or verification.scratch in params), then run again.",
    Cause.ACCESS: "Look at the disk and the file's permissions on this host, then run again.",
}
_FURTHER = {
    Cause.HELD: "A transaction that was under way at this point holds it, and a server in recovery keeps its lock: choose another point, or "
    "check again once it is promoted (-p promote true).",
    Cause.LIMIT: "Check it in production; a dump (pg_dump) meets the same limit.",
    Cause.NAMES: "Write the schema of each name that the function uses, or give it a search_path (ALTER FUNCTION ... SET), in production: until then neither REINDEX nor a restore of "
    "pg_dump builds this index.",
    Cause.DAMAGE: "Treat the backup as damaged; look whether production can read the same.",
    Cause.UNKNOWN: "Ask production the same: if it answers, look at what this host has otherwise, and do not rely on this backup until that is known.",
}

#: What each SQLSTATE is evidence of; its first two characters stand for a class.
_STATES = {
    "XX001": Cause.DAMAGE,
    "XX002": Cause.DAMAGE,
    "55P03": Cause.HELD,
    "53100": Cause.DISK,
    "53200": Cause.MEMORY,
    "53300": Cause.MEMORY,
    "53": Cause.FILES,
    "54": Cause.LIMIT,
    "58030": Cause.ACCESS,
    "42883": Cause.NAMES,
    "42P01": Cause.NAMES,
    "42704": Cause.NAMES,
    "3F000": Cause.NAMES,
}
#: In the order in which they are tried: a full /dev/shm says "No space left on device", too.
_WORDS = {
    Cause.HELD: r"canceling statement due to lock timeout",
    Cause.DAMAGE: r"could not open (?:file|directory) \"(?:base|global|pg_tblspc|pg_xact|pg_multixact|pg_commit_ts|pg_subtrans)\b[^\n]*No such file"
    r"|could not access status of transaction|invalid page in block|page verification failed|read only \d+ of \d+ bytes|database subdirectory [^\n]* is missing"
    r"|is not a valid data directory|relation mapping file|cache lookup failed|could not open relation with OID|catalog is missing|missing chunk number"
    r"|unexpected chunk|data is corrupt|relfrozenxid|beyond EOF|index \"[^\"]+\" (?:lacks|contains)|incorrect checksum in control file",
    Cause.LIBRARY: r"could not access file \"|could not load library|error while loading shared libraries|could not find function \"[^\"]+\" in file|incompatible library"
    r"|extension \"[^\"]+\" is not available|could not open extension control file|resource manager with ID \d+ not registered"
    r"|(?:must|has to|needs to) be (?:loaded via|preloaded|in) [^\n]*preload|shared_preload_libraries",
    Cause.SEARCH_FILE: r"could not open (?:stop-word|dictionary|affix|synonym|thesaurus)[\w -]*file|tsearch_data",
    Cause.LOCALE: r"database locale is incompatible|could not create locale|could not open collator|could not (?:load|set|convert) locale|not recognized by setlocale"
    r"|ICU is not supported|collation \"[^\"]+\" for encoding|ICU locale|collation provider|could not get collation version|had version [^\n]* where the index was built",
    Cause.ZONES: r"time zone \"[^\"]*\" not recognized|zoneinfo|timezonesets|invalid value for parameter \"(?:log_)?timezone\"",
    Cause.BUILD: r"database files are incompatible with server",
    Cause.LIMIT: r"string buffer exceeds maximum|Cannot enlarge string buffer|stack depth limit exceeded|row is too big|exceeds the maximum|requested length too large",
    Cause.MEMORY: r"shared memory|could not create semaphores|could not fork|out of memory|Cannot allocate memory|huge pages"
    r"|was terminated by signal (?:7|9)\b|too many (?:clients|connections)",
    Cause.FILES: r"Too many open files|insufficient file descriptors",
    Cause.DISK: r"No space left on device|[Qq]uota exceeded|wrote only \d+ of \d+ bytes|File too large|Check free disk space",
    Cause.ACCESS: r"Read-only file system|Input/output error|Permission denied|Operation not permitted|Stale file handle",
    Cause.NAMES: r"(?:function|relation|type|operator|schema|text search \w+) [^\n]* does not exist|operator does not exist",
}  # fmt: skip
_PATTERNS = {cause: re.compile(words, re.IGNORECASE) for cause, words in _WORDS.items()}
_ALLOCATION = re.compile(r"invalid memory alloc request size (\d+)")
#: What no healthy row asks for, bytes: a damaged length is read as a negative number, which is far above it.
_MOST_ASKED = 1 << 40
_STATE = re.compile(r"\(SQLSTATE ([0-9A-Z]{5})\)$")


def words_of(error: Exception) -> str:
    r"""Return what the server said, on one line, ending with the SQLSTATE; bytes that are no UTF-8 are shown as ``\xe4``."""
    result: Any = getattr(error, "pgresult", None)
    diagnosis: Any = getattr(error, "diag", None)
    if result is None or diagnosis is None or not diagnosis.message_primary:
        return _line(getattr(error, "message", None) or str(error))
    parts = [_field(result, name) for name in (b"M", b"D")]
    return f"{_line(': '.join(filter(None, parts)))} (SQLSTATE {diagnosis.sqlstate})"


def _field(result: Any, code: bytes) -> str:
    return (result.error_field(code[0]) or b"").decode("utf-8", "backslashreplace")


def _line(text: str) -> str:
    return texts.visible_line(" ".join(text.split()))


def cause_of(words: str | None) -> Cause:
    """Return what the words are evidence of, by the SQLSTATE at their end where that tells.

    Args:
        words: as `words_of` gives them; or of pg_amcheck, a log, a refused connection.

    >>> str(cause_of('could not open file "base/5/16412": No such file or directory (SQLSTATE 58P01)'))
    'damage'
    >>> str(cause_of('could not access file "$libdir/hstore": No such file or directory (SQLSTATE 58P01)'))
    "an extension's library"
    >>> str(cause_of('could not resize shared memory segment "/PostgreSQL.1" to 8192 bytes: No space left on device (SQLSTATE 53100)'))
    'memory'
    """
    if not words:
        return Cause.UNKNOWN
    found = _STATE.search(words)
    state = found[1] if found else ""
    if _STATES.get(state) in (Cause.DAMAGE, Cause.HELD):
        return _STATES[state]
    asked = _ALLOCATION.search(words)
    if asked is not None:
        return Cause.LIMIT if int(asked[1]) < _MOST_ASKED else Cause.DAMAGE
    by_words = next((cause for cause, pattern in _PATTERNS.items() if pattern.search(words)), None)
    return by_words or _STATES.get(state) or _STATES.get(state[:2]) or Cause.UNKNOWN


def is_of_host(line: str) -> bool:
    """Return True when a program's error line says that this host kept it from its work. What it quotes are names, and say nothing.

    >>> is_of_host('pg_waldump: error: could not open file "000000010000000000000003": Permission denied')
    True
    >>> is_of_host('could not find file "No space left on device": No such file or directory')
    False
    """
    return cause_of(re.sub(r'"[^"]*"', '""', line)).is_host


def is_damage(words: str | None) -> bool:
    """True when the words are evidence against the data; anything else is UNKNOWN, never a pass."""
    return cause_of(words) is Cause.DAMAGE


def next_step(words: str | None) -> str:
    """Return what to do about it."""
    cause = cause_of(words)
    return _ADVICE.get(cause) or _FURTHER[cause]


_WARNING = re.compile(r"WARNING:  ([^\n]*)(?:\n[^\n]*DETAIL:  ([^\n]*))?")
_MOST_WARNINGS = 10
#: A scratch is a standby whose WAL is staged: it has neither, on purpose.
_INTENDED = re.compile(r'specified neither "?primary_conninfo"? nor "?restore_command"?')


def warnings_in(log: str) -> list[str]:
    r"""Return the warnings of a server's log, each once with its detail, the first ten and how many more there are.

    >>> warnings_in("1 [2] WARNING:  a changed\n1 [2] DETAIL:  from 1 to 2\n1 [3] LOG:  x\n1 [4] WARNING:  a changed\n1 [4] DETAIL:  from 1 to 2\n")
    ['a changed: from 1 to 2']
    """
    found = list(
        dict.fromkeys(
            _line(": ".join(filter(None, one))) for one in _WARNING.findall(log) if not _INTENDED.search(one[0])
        )
    )
    more = len(found) - _MOST_WARNINGS
    return found[:_MOST_WARNINGS] + ([f"and {more} more"] if more > 0 else [])


#: What a server says of its sessions, not of its own end.
_OF_SESSIONS = re.compile(r"the database system is|terminating |canceling ")


def find_in_log(text: str) -> tuple[Cause, str] | None:
    """Return what ended a server that this host could not run, with the log's line; None where the log does not blame the host.

    The last FATAL or PANIC decides, or the last child that the system killed; an earlier one of another session says nothing of the end.
    """
    for line in reversed(text.splitlines()):
        if re.search(r"(?:FATAL|PANIC):  |was terminated by signal", line) and not _OF_SESSIONS.search(line):
            cause = cause_of(line)
            return (cause, line) if cause.is_host else None
    return None


def is_lock_timeout(error: Exception | str | None) -> bool:
    """True when something was not done for want of a lock that somebody holds: nothing is said about the data then.

    A server that stands in recovery holds the exclusive locks of every transaction that was under way there (a TRUNCATE, ALTER TABLE,
    an autovacuum that gave pages back): nobody can read those relations before it is promoted.

    Args:
        error: what the server said, in any language; or its words where nothing else is left, of a session with lc_messages C.

    >>> is_lock_timeout("ERROR:  canceling statement due to lock timeout"), is_lock_timeout(None)
    (True, False)
    """
    if isinstance(error, str):
        return "canceling statement due to lock timeout" in error
    return getattr(error, "sqlstate", None) == "55P03"
