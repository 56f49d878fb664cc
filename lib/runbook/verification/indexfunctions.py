"""Indexes whose functions name their helpers without a schema: healthy, and not to be rebuilt on PostgreSQL 17 and later.

Since 17 all maintenance runs with a safe search_path, so that such a function fails in REINDEX, in pg_dump's restore and in amcheck's look for
each row in the index. That says nothing of the index: its structure is checked without its rows, and the rest is UNKNOWN.

Source: PostgreSQL 17 release notes, "Change functions to use a safe search_path during maintenance operations".
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from runbook.model import Finding
from runbook.platforms.cluster.scratch import Scratch
from runbook.postgres.connect import SqlError, quote, rows
from runbook.postgres.sqlfiles import load_sql

#: Since when maintenance has a safe search_path.
_SINCE = 17
_NOT_FOUND = re.compile(r"(?:function|operator|relation|type|schema|collation|text search \w+) .+ does not exist")
#: Begins our own words for such an index.
CANNOT_BE_REBUILT = "cannot be rebuilt or restored by pg_dump until its function names its schemas"


def is_not_rebuilt(words: str | None) -> bool:
    """True when an index was checked without its rows, since its function does not find what it names."""
    return (words or "").startswith(CANNOT_BE_REBUILT)


def check_without_rows(
    scratch: Scratch, database: str, schema: str, findings: Iterable[Finding]
) -> tuple[Finding, ...]:
    """Return the findings; those of an index whose function finds no name are replaced, once the index was checked without its rows.

    Args:
        schema: of the extension amcheck.

    Raises:
        SqlError: the catalogs cannot be read.
    """
    found = list(findings)
    if scratch.tools.major < _SINCE or not any(_NOT_FOUND.search(item.observed) for item in found):
        return tuple(found)
    with scratch.connect(database) as connection:
        computed: dict[str, list[int]] = {}
        for row in rows(connection, load_sql("integrity/list_expression_indexes").text):
            computed.setdefault(row["title"], []).append(row["oid"])
        for at, item in enumerate(found):
            said = _NOT_FOUND.search(item.observed)
            oids = computed.get(item.object, [])
            if said is None or not oids:
                continue
            try:
                for oid in oids:  # with dots in names several may be called so
                    rows(connection, f"SELECT {quote(schema)}.bt_index_check($1::bigint::oid::regclass, false)", [oid])
            except SqlError as problem:
                found[at] = _with_words(item, f"{str(problem).strip()} (checked without its rows)")
            else:
                found[at] = _with_words(
                    item, f"{CANNOT_BE_REBUILT} ({said[0]}); its structure was checked, its rows were not"
                )
    return tuple(found)


def _with_words(item: Finding, words: str) -> Finding:
    return item.model_copy(update={"observed": words, "message": words})
