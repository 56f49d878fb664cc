"""A unique index was built concurrently, failed, and stayed behind invalid."""

from __future__ import annotations

import random
from typing import Any

from runbook.errors import PlatformError
from runbook.postgres.connect import SqlError
from runbook.sandbox import backup
from runbook.sandbox.change import read_figure
from runbook.sandbox.data import run_file
from runbook.sandbox.place import Sandbox

NAME = "invalid-index"
SUMMARY = "leave an invalid index on vehicles behind"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    with sandbox.connect() as connection:
        try:
            run_file(connection, "incidents/create_model_index")
        except SqlError as expected:
            said = str(expected).splitlines()[0]
        else:
            raise PlatformError(
                "The unique index on vehicles (model) was built: no model repeats.", next="Load more data."
            )
    name = read_figure(sandbox, "find_invalid_indexes", "name")
    backup.archive_tail(sandbox)
    return {
        "did": f"CREATE UNIQUE INDEX CONCURRENTLY failed ({said}) and left {name} behind.",
        "where": f"public.{name}",
        "index": name,
        "undo": f"DROP INDEX public.{name};",
    }
