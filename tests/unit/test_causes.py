"""What a server's words are evidence of: only damage speaks against a backup."""

from __future__ import annotations

import pytest
from runbook.postgres import causes
from runbook.postgres.causes import Cause

WORDS = {
    Cause.LIBRARY: [
        'could not access file "$libdir/hstore": No such file or directory (SQLSTATE 58P01)',
        'could not access file "/var/tmp/ext/hstore": No such file or directory (SQLSTATE 58P01)',
        'could not load library "/usr/lib/x.so": /usr/lib/x.so: undefined symbol: y',
        'could not find function "hstore_in" in file "/usr/lib/hstore.so" (SQLSTATE 42883)',
        'incompatible library "/usr/lib/x.so": version mismatch: Server is version 17, library is version 16. (SQLSTATE XX000)',
        'extension "amcheck" is not available: Could not open extension control file "x": No such file or directory. (SQLSTATE 0A000)',
        "FATAL:  resource manager with ID 128 not registered",
        "pg_controldata ended with code 127: pg_controldata: error while loading shared libraries: libicui18n.so.72: cannot open shared object file",
        'pg_stat_statements must be loaded via "shared_preload_libraries" (SQLSTATE 55000)',
        'FATAL:  could not access file "timescaledb": No such file or directory',
    ],
    Cause.LOCALE: [
        'connection failed: FATAL:  database locale is incompatible with operating system\nDETAIL:  The database was initialized with LC_COLLATE "nn_NO"',
        'could not create locale "nn_NO.utf8": No such file or directory (SQLSTATE 22023)',
        'could not open collator for locale "de": U_MISSING_RESOURCE_ERROR (SQLSTATE XX000)',
        "ICU is not supported in this build (SQLSTATE 0A000)",
        'collation "c" for encoding "UTF8" does not exist (SQLSTATE 42704)',
    ],
    Cause.SEARCH_FILE: [
        'could not open stop-word file "/usr/share/tsearch_data/english.stop": No such file or directory (SQLSTATE F0000)',
        'could not open dictionary file "/usr/share/tsearch_data/nn.dict": No such file or directory (SQLSTATE F0000)',
    ],
    Cause.ZONES: [
        'time zone "Europe/Kyiv" not recognized (SQLSTATE 22023)',
        'FATAL:  invalid value for parameter "log_timezone": "UTC"',
    ],
    Cause.BUILD: ["FATAL:  database files are incompatible with server"],
    Cause.MEMORY: [
        "FATAL:  could not map anonymous shared memory: Cannot allocate memory",
        "FATAL:  could not create shared memory segment: No space left on device",
        "FATAL:  could not create semaphores: No space left on device",
        'could not resize shared memory segment "/PostgreSQL.3" to 8388608 bytes: No space left on device (SQLSTATE 53100)',
        "out of memory: Failed on request of size 5 in memory context (SQLSTATE 53200)",
        "LOG:  startup process (PID 7) was terminated by signal 9: Killed",
        "LOG:  startup process (PID 7) was terminated by signal 7: Bus error",
    ],
    Cause.FILES: ['PANIC:  could not open file "pg_wal/0": Too many open files'],
    Cause.DISK: [
        'could not extend file "base/5/16412": No space left on device (SQLSTATE 53100)',
        'could not extend file "base/5/16412": wrote only 4096 of 8192 bytes at block 7 (SQLSTATE 53100)',
        'could not extend file "base/5/16412" with FileFallocate(): Disk quota exceeded (SQLSTATE XX000)',
        'could not write to file "base/pgsql_tmp/pgsql_tmp5.0": File too large',
    ],
    Cause.ACCESS: [
        'could not read blocks 5..5 in file "base/5/16412": Input/output error (SQLSTATE 58030)',
        'could not open file "base/5/16412": Permission denied (SQLSTATE 42501)',
    ],
    Cause.HELD: ["canceling statement due to lock timeout (SQLSTATE 55P03)", "Sperre (SQLSTATE 55P03)"],
    Cause.LIMIT: [
        "invalid memory alloc request size 1200000003 (SQLSTATE XX000)",
        "out of memory: Cannot enlarge string buffer containing 1073741808 bytes by 64 more bytes. (SQLSTATE 54000)",
        "string buffer exceeds maximum allowed length (1073741823 bytes) (SQLSTATE 54000)",
        "stack depth limit exceeded (SQLSTATE 54001)",
    ],
    Cause.NAMES: [
        "function helper(integer) does not exist (SQLSTATE 42883)",
        'ERROR:  relation "rates" does not exist',
        "operator does not exist: public.citext = public.citext (SQLSTATE 42883)",
    ],
    Cause.DAMAGE: [
        'could not open file "base/5/16412": No such file or directory (SQLSTATE 58P01)',
        'could not open file "pg_tblspc/16400/PG_17/5/16412": No such file or directory (SQLSTATE 58P01)',
        'could not open file "pg_xact/0000": No such file or directory',
        "could not access status of transaction 731: Could not open file",
        "invalid page in block 3 of relation base/5/16412 (SQLSTATE XX001)",
        'could not read blocks 9..9 in file "base/5/16412": read only 0 of 8192 bytes (SQLSTATE XX001)',
        "invalid memory alloc request size 18446744073709551613 (SQLSTATE XX000)",
        "missing chunk number 0 for toast value 16390 in pg_toast_16384 (SQLSTATE XX001)",
        'item order invariant violated for index "i" (SQLSTATE XX002)',
        "cache lookup failed for type 16390 (SQLSTATE XX000)",
        'FATAL:  database "shop" does not exist DETAIL:  The database subdirectory "base/16384" is missing.',
    ],
    Cause.UNKNOWN: ["division by zero (SQLSTATE 22012)", "what nobody has seen (SQLSTATE XX000)", "", None],
}


@pytest.mark.parametrize(("cause", "words"), [(cause, one) for cause, some in WORDS.items() for one in some])
def test_words_are_evidence_of_what_they_say(cause: Cause, words: str | None) -> None:
    assert causes.cause_of(words) is cause
    assert causes.next_step(words).endswith((".", ")"))


def test_every_cause_has_its_words() -> None:
    assert set(WORDS) == set(Cause)


LOG = """2026-11-30 12:00:00 UTC [7] LOG:  redo starts at 0/2000028
2026-11-30 12:00:01 UTC [7] {last}
2026-11-30 12:00:01 UTC [1] LOG:  startup process (PID 7) exited with exit code 1
2026-11-30 12:00:01 UTC [1] LOG:  database system is shut down
"""


def test_an_earlier_fatal_of_a_session_does_not_excuse_the_end() -> None:
    session = 'FATAL:  could not access file "x": No such file or directory'
    log = f"2026-11-30 12:00:00 UTC [9] {session}\n" + LOG.format(
        last="PANIC:  WAL contains references to invalid pages"
    )
    assert causes.find_in_log(log) is None
    assert causes.find_in_log(LOG.format(last=session) + "FATAL:  the database system is shutting down\n") is not None


@pytest.mark.parametrize(
    ("last", "cause"),
    [
        ('FATAL:  could not extend file "base/5/16412": wrote only 4096 of 8192 bytes at block 7', Cause.DISK),
        ("FATAL:  could not create shared memory segment: No space left on device", Cause.MEMORY),
        ("FATAL:  resource manager with ID 128 not registered", Cause.LIBRARY),
        ('PANIC:  could not open file "pg_wal/000000010000000000000003": Too many open files', Cause.FILES),
        ("PANIC:  WAL contains references to invalid pages", None),
        ('FATAL:  could not open file "base/5/16412": No such file or directory', None),
        ('LOG:  could not write file "pg_stat_tmp/x": No space left on device', None),
    ],
)
def test_a_log_blames_the_host_by_its_last_words_alone(last: str, cause: Cause | None) -> None:
    found = causes.find_in_log(LOG.format(last=last))
    assert (found[0] if found else None) is cause
