"""What a recovery brings back from the past, or loses: roles and their rights, settings, subscriptions, jobs, slots, standbys.

Compared are the damaged cluster, as it was last, and the restored copy. Old permissions revive; nobody is told by PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from runbook.errors import PlatformError
from runbook.postgres.connect import Connection, SqlError, one, rows
from runbook.postgres.sqlfiles import load_sql

Open = Callable[[str], Connection]
#: By kind, object and aspect: what it is. JSON.
Inventory = dict[str, dict[str, dict[str, str]]]

_PASSWORD = "password"  # noqa: S105 - a word, no password
#: What to do about a difference, by kind.
_TODO = {
    "role": "Decide: an account that was removed or restricted since works again; one made since is gone.",
    "setting of a role": "Set it again if the newer value was meant.",
    "subscription": "Look at both sides' positions before it is enabled.",
    "job": "Look at what it would do twice; then set cron.launch_active_jobs back.",
    "slot": "Make it again; its consumer must start from a new copy or position.",
    "standby": "Rebuild it (pg_basebackup) or rewind it (pg_rewind); it must not follow the old timeline.",
}
_FILES = {
    "setting of a role": "recovery/list_role_settings",
    "subscription": "recovery/list_subscriptions",
    "slot": "recovery/list_slots",
    "standby": "recovery/list_standbys",
}


def read_inventory(open_: Open, database: str | None = None) -> tuple[Inventory, list[str]]:
    """What a cluster has of all that, and what could not be read.

    Args:
        database: where pg_cron keeps its jobs, besides `postgres`.
    """
    found: Inventory = {}
    missed: list[str] = []
    with open_("postgres") as connection:
        found["role"] = {
            row["name"]: {
                "attributes": row["attributes"],
                "member of": row["member_of"],
                _PASSWORD: row["password"],
            }
            for row in rows(connection, load_sql("recovery/list_roles").text)
        }
        for kind, file in _FILES.items():
            try:
                found[kind] = {row["name"]: {"": row["value"]} for row in rows(connection, load_sql(file).text)}
            except SqlError as problem:
                missed.append(f"{kind}s: {str(problem).strip()}")
    for name in dict.fromkeys(["postgres", *([database] if database else [])]):
        try:
            with open_(name) as connection:
                if one(connection, load_sql("recovery/find_jobs_table").text)["found"]:
                    for row in rows(connection, load_sql("recovery/list_jobs").text):
                        found.setdefault("job", {})[row["name"]] = {"": row["value"]}
        except (PlatformError, SqlError) as problem:
            missed.append(f"jobs in {name}: {str(problem).strip()}")
    return found, missed


def compare(damaged: Mapping[str, Any], restored: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row a difference: kind, object, as it was last, as it is now, what to do. Passwords are only said to differ. Pure.

    >>> compare({"role": {"eve": {"attributes": "", "password": "a"}}}, {"role": {"eve": {"attributes": "LOGIN", "password": "b"}}})[0]["now"]
    'LOGIN; another password'
    """
    found = []
    for kind in _TODO:
        then, now = damaged.get(kind, {}), restored.get(kind, {})
        for name in sorted(set(then) | set(now)):
            before, after = then.get(name), now.get(name)
            if before == after:
                continue
            found.append(
                {
                    "kind": kind,
                    "object": name,
                    "last": _words(before, after),
                    "now": _words(after, before, is_new=True),
                    "to do": _TODO[kind],
                }
            )
    return found


def _words(one: Mapping[str, str] | None, other: Mapping[str, str] | None, *, is_new: bool = False) -> str:
    if one is None:
        return "is not there"
    said = [
        f"{name} {value}".strip() if name not in ("attributes", "") else value
        for name, value in one.items()
        if name != _PASSWORD and value
    ]
    if is_new and other is not None and one.get(_PASSWORD) != other.get(_PASSWORD):
        said.append("another password")
    return "; ".join(said) or "plain"
