"""Where things are. No other module spells a path of the house.

`RUNBOOK_HOME` names a folder with its own `params/`, `reports/` and `var/` (and, if it has them, `notebooks/`
and `sql/`); without it the checkout is the home.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from runbook.errors import OperatorError

CHECKOUT = Path(__file__).resolve().parents[2]

#: The mark that every process of a run carries in its environment.
RUN_MARK = "RUNBOOK_RUN"

#: Production outlives any run: its processes carry this mark, and not the run's.
PRODUCTION_MARK = "RUNBOOK_PRODUCTION"
PRODUCTION_ENV: dict[str, str | None] = {PRODUCTION_MARK: "1", RUN_MARK: None}


def home() -> Path:
    """The folder that holds params, reports and var.

    Raises:
        OperatorError: RUNBOOK_HOME cannot be followed to a folder.
    """
    named = os.environ.get("RUNBOOK_HOME")
    if not named:
        return CHECKOUT
    try:
        return Path(named).resolve()
    except (OSError, RuntimeError) as cause:  # RuntimeError: a symbolic link back to itself, up to Python 3.12
        raise OperatorError(f"RUNBOOK_HOME={named} cannot be used: {cause}.", next="unset RUNBOOK_HOME") from cause


def _own_or_checkout(name: str) -> Path:
    own = home() / name
    return own if own.is_dir() else CHECKOUT / name


def notebooks() -> Path:
    return _own_or_checkout("notebooks")


def sql() -> Path:
    return _own_or_checkout("sql")


def params() -> Path:
    return _own_or_checkout("params")


def reports() -> Path:
    return home() / "reports"


def ledger() -> Path:
    return reports() / "RUNS"


def records() -> Path:
    return reports() / "records"


def var() -> Path:
    return home() / "var"


def runs() -> Path:
    return var() / "runs"


def run(run_id: str) -> Path:
    return runs() / run_id


def locks() -> Path:
    return var() / "locks"


def keys() -> Path:
    """Practice keys of the sandbox, and the runner's own key unless the home's settings name one; no person's real key."""
    return var() / "keys"


def sandbox() -> Path:
    """The sandbox's folder; a symbolic link when the home is closed to the server's user (`shared()`)."""
    return var() / "sandbox"


def scratch() -> Path:
    """Where scratch clusters are restored unless told otherwise."""
    return var() / "scratch"


def shared() -> Path:
    """A folder any user can enter, private to this home: for what an unprivileged server must reach."""
    digest = hashlib.sha256(str(home()).encode()).hexdigest()[:10]
    return Path("/var/tmp") / f"runbook-{digest}"  # noqa: S108 - survives reboots, made with owner checks


def resolve(path: str | Path) -> Path:
    """A path from a params file: relative ones start at the home.

    Raises:
        OperatorError: it begins with ~ and names nobody of this system.
    """
    try:
        return (home() / Path(path).expanduser()).absolute()
    except RuntimeError as cause:
        raise OperatorError(f"The path {path} cannot be used: {cause}", next="Write the path without ~.") from cause


def short(path: str | Path) -> str:
    """A path for people: relative to the home when inside it."""
    absolute = Path(path).absolute()
    return str(absolute.relative_to(home())) if absolute.is_relative_to(home()) else str(absolute)
