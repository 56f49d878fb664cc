"""What pg_amcheck has found, told apart: damage, and what could not be checked here.

pg_amcheck prints words without a SQLSTATE. What its words leave open is asked again of the server, relation by relation, which names it.
An index that sorts by a collation of another version than this host's is out of order here whatever the backup holds.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from runbook import texts
from runbook.model import Finding, Severity
from runbook.platforms.cluster.scratch import Scratch
from runbook.postgres import causes
from runbook.postgres.causes import Cause
from runbook.postgres.connect import Connection, SqlError, quote, rows
from runbook.postgres.sqlfiles import load_sql

#: More are not asked again: the words alone decide then.
_MOST_ASKED = 50
#: What amcheck says of a btree index that is damaged.
_CORRUPT = re.compile(
    r"invariant violated|lacks matching index tuple|uniqueness is violated|circular link|down-?link|high key|could not find tuple using search|"
    r"posting list|half-dead|deleted page|sibling|invalid \w+ (?:page|block|tuple)|in index \"\" (?:has|is)|metapage|root block"
)
#: Since PostgreSQL 17 all maintenance has a safe search_path ("Change functions to use a safe search_path during maintenance operations").
CANNOT_BE_REBUILT = "cannot be rebuilt or restored by pg_dump until its function names its schemas"
_ASK_PRODUCTION = (
    "Run pg_amcheck --heapallindexed in production: if it finds the index whole there, the function answers by settings; if not, REINDEX it there and "
    "take a new base backup."
)
#: Of these a changed order of texts is a cause.
_ORDER = re.compile(
    r"order invariant|bound invariant|high key invariant|could not find tuple using search|uniqueness is violated"
)


def add_extension(scratch: Scratch, database: str) -> None:
    """Give a promoted scratch's database the extension, in a new schema: in one that somebody prepared it would pick up their objects.

    Raises:
        SqlError, PlatformError: it cannot be had.
    """
    with scratch.connect(database, read_only=False) as connection:
        if rows(connection, load_sql("integrity/read_amcheck").text):
            return
        schema = quote(f"runbook_amcheck_{secrets.token_hex(8)}")
        connection.execute("SET session_replication_role = replica")  # no event trigger runs
        with connection.transaction():
            connection.execute(f"CREATE SCHEMA {schema}")
            connection.execute(f"CREATE EXTENSION amcheck SCHEMA {schema}")


def parse(text: str) -> tuple[Finding, ...]:
    """pg_amcheck's report: an unindented line names the object, indented ones say what is wrong.

    >>> parse('btree index "d.public.i":\\n    ERROR:  high key invariant violated\\n')[0].object
    'd.public.i'
    """
    findings: list[Finding] = []
    where, place = "", ""
    said: list[str] = []

    def flush() -> None:
        if where and said:
            findings.append(
                Finding(
                    id="amcheck",
                    object=where,
                    severity=Severity.CRITICAL,
                    observed=" ".join(said),
                    expected="consistent",
                    message=(place + ": " if place else "") + " ".join(said),
                )
            )

    for line in text.splitlines():
        if line and not line[0].isspace() and line.rstrip().endswith(":"):
            flush()
            said = []
            where = _name_in(line) or line.rstrip(":")
            place = line.rstrip(":").rpartition('", ')[2] if '", ' in line else ""
        elif line.strip() and not line.startswith(("pg_amcheck:", "query was")):
            said.append(line.strip())
    flush()
    return tuple(findings)


def _name_in(text: str) -> str | None:
    match = re.search(r'"([^"]+)"', text)
    return match[1] if match else None


def tell_apart(
    scratch: Scratch, database: str, schema: str, found: Sequence[Finding]
) -> tuple[list[Finding], list[Finding]]:
    """Return the findings that are damage, and those that are none, with the server's words.

    Args:
        schema: of the extension amcheck.
    """
    damage: list[Finding] = []
    others: list[Finding] = []
    with scratch.connect(database) as connection:
        relations = {
            _printed(f"{database}.{row['schema']}.{row['name']}"): row
            for row in rows(connection, load_sql("integrity/list_relations").text)
        }
        sorted_otherwise = {
            row["oid"]: row for row in rows(connection, load_sql("integrity/list_sorted_otherwise").text)
        }
        computed = {
            row["oid"]: row["function"] for row in rows(connection, load_sql("integrity/list_function_indexes").text)
        }
        connection.execute("SET lock_timeout = '5s'")
        for number, finding in enumerate(found):
            words = finding.observed
            relation = relations.get(finding.object)
            if relation is not None:
                title = texts.visible_line(f"{database}.{relation['schema']}.{relation['name']}")
                finding = finding.model_copy(update={"object": title})
            cause = _cause(words)
            if cause in (Cause.NAMES, Cause.UNKNOWN) and relation is not None and number < _MOST_ASKED:
                words = _ask_again(connection, schema, relation) or words
                cause = _cause(words)
            version = sorted_otherwise.get(relation["oid"]) if relation is not None else None
            if cause is Cause.DAMAGE and version is not None and _ORDER.search(words):
                cause, words = Cause.LOCALE, _sorted_otherwise(version, words)
            function = computed.get(relation["oid"]) if relation is not None else None
            step = causes.next_step(words)
            if cause is Cause.DAMAGE and function is not None and "lacks matching index tuple" in words:
                cause, words, step = Cause.UNKNOWN, _computed_otherwise(function, words), _ASK_PRODUCTION
            kept = finding.model_copy(update={"observed": words, "message": words, "next": step})
            (damage if cause is Cause.DAMAGE else others).append(finding if cause is Cause.DAMAGE else kept)
    return damage, others


def _printed(name: str) -> str:
    """Return a name as a program's output is read."""
    return texts.escaped(name)


def _cause(words: str) -> Cause:
    """A heap's findings are no errors of the server: each is a damage."""
    if "ERROR:" not in words and "(SQLSTATE " not in words:
        return Cause.DAMAGE
    # The words between quotes are names, which somebody has chosen.
    return Cause.DAMAGE if _CORRUPT.search(re.sub(r'"[^"]*"', '""', words)) else causes.cause_of(words)


def _ask_again(connection: Connection, schema: str, relation: dict[str, object]) -> str | None:
    """Return the server's words with the SQLSTATE, and what was checked all the same; None where it has nothing to say now."""
    name = quote(schema)
    if not relation["is_index"]:
        return _error(connection, f"SELECT * FROM {name}.verify_heapam($1::bigint::regclass)", relation["oid"])
    words = _error(connection, f"SELECT {name}.bt_index_check($1::bigint::regclass, true)", relation["oid"])
    if words is None or causes.is_damage(words):
        return words
    without = _error(connection, f"SELECT {name}.bt_index_check($1::bigint::regclass, false)", relation["oid"])
    if without is not None and causes.is_damage(without):
        return without
    if without is None and causes.cause_of(words) is Cause.NAMES:
        return f"{CANNOT_BE_REBUILT}; its structure was checked, and not whether each row is in it: {words}"
    if without is None:
        return f"its pages and its order were checked, and not whether each row is in it: {words}"
    return words


def _error(connection: Connection, query: str, oid: object) -> str | None:
    try:
        rows(connection, query, [oid])
    except SqlError as problem:
        return causes.words_of(problem)
    return None


def _sorted_otherwise(version: dict[str, object], words: str) -> str:
    return (
        f"{words}, which proves nothing: the collation {version['collation']} had version {version['built']} where the index was built, and has "
        f"version {version['here'] or 'unknown'} on this host"
    )


def _computed_otherwise(function: str, words: str) -> str:
    return (
        f"{words}, which proves nothing: the index is computed by {function}, whose answer may depend on settings of a session (TimeZone, DateStyle, "
        "default_text_search_config and others); the check's are not those under which production built the index"
    )
