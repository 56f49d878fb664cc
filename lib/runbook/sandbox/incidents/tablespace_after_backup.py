"""A tablespace was made after the newest backup: replaying its creation reaches for the live one's folder."""

from __future__ import annotations

import random
from typing import Any

from runbook.postgres import connect
from runbook.postgres.osuser import give
from runbook.sandbox import backup
from runbook.sandbox.place import Sandbox

NAME = "tablespace-after-backup"
SUMMARY = "create a tablespace with a table in it, after the newest backup"
_ROWS = 2500


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    name = f"cold_{rng.randrange(10**6):06d}"
    folder = sandbox.tablespaces / name
    table = connect.identifier("public", name)
    with sandbox.connect() as connection:
        folder.mkdir(mode=0o700)
        give(folder, sandbox.user)
        connection.execute(
            connect.compose("CREATE TABLESPACE {} OWNER dealerscope_owner LOCATION {}").format(
                connect.identifier(name), connect.literal(str(folder))
            )
        )
        connection.execute(
            connect.compose("CREATE TABLE {} TABLESPACE {} AS SELECT g AS id FROM generate_series(1, {}) AS g").format(
                table, connect.identifier(name), connect.literal(_ROWS)
            )
        )
    backup.archive_tail(sandbox)
    return {
        "did": f"Created tablespace {name} with a table of {_ROWS} rows.",
        "where": str(folder),
        "tablespace": name,
        "rows": {name: _ROWS},
    }
