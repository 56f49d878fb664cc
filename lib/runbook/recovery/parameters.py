"""The recovery notebook's parameters: looked at before anything is started."""

from __future__ import annotations

from typing import Any

from runbook.errors import OperatorError, PlatformError
from runbook.params.schema import Params
from runbook.platforms.cluster import service
from runbook.platforms.cluster.live import LiveServer, read_position
from runbook.platforms.cluster.window import parse_point
from runbook.postgres.connect import SqlError, one
from runbook.postgres.sqlfiles import load_sql
from runbook.postgres.wal import format_lsn
from runbook.recovery.minimising import Minimiser
from runbook.recovery.plans import FINAL, NUMBERS, WAYS
from runbook.recovery.suspectchoice import FIND, FIRST, look_back_of, parse_choice


def check_parameters(params: Params, values: dict[str, Any]) -> None:
    """The notebook's parameters mean something on this target; nothing is started.

    Raises:
        OperatorError, ParamsError: one does not.
    """
    if params.cluster is None:
        raise OperatorError(f"Target '{params.target}' is no cluster.", next="Use a target with platform: cluster.")
    LiveServer(params.cluster, "preflight").need_data()
    Minimiser(params.recovery.personal_data)
    if values["recovery_point"].strip() != FIND:
        point = parse_point(values["recovery_point"])
        if (
            isinstance(point, int) and values["timeline"] == "auto"
        ):  # another timeline may reach further than production's
            _refuse_unwritten(LiveServer(params.cluster, "preflight"), point)
    look_back_of(values["look_back"])
    chosen = values.get("suspects", "").strip()
    if chosen != FIRST:
        parse_choice(chosen)
    elif params.environment != "sandbox":
        raise OperatorError(
            f"On a {params.environment} target the suspects are chosen by who has seen them.",
            next="Leave out -p suspects, the run asks; or name the transactions that a dry run has shown: -p suspects 812",
        )
    if values["personal_data"] not in ("", "yes", "no"):
        raise OperatorError("personal_data is yes, no, or empty.", next="-p personal_data yes")
    way = values["way"].partition(":")[0].strip()
    if way and way not in WAYS:
        raise OperatorError(f"There is no way '{way}'.", next="-p way " + "|".join(FINAL))
    if values["acceptance"] not in ("", "accept", "back"):
        raise OperatorError("acceptance is accept, back, or empty.", next="-p acceptance accept")
    if values.get("sequences", "") not in ("", *NUMBERS):
        raise OperatorError("sequences is forward, keep, or empty.", next="-p sequences forward")
    if params.environment == "production" and (way in FINAL or values["acceptance"]):
        raise OperatorError(
            "On a production target the way on and its acceptance are decided when there is something to see.",
            next="Leave out -p way and -p acceptance; the run asks.",
        )
    if not values["dry_run"]:
        service.require_service(params.cluster)


def _refuse_unwritten(live: LiveServer, point: int) -> None:
    """The position is one that production has written, as far as its server can say: no archive holds a later one.

    Raises:
        OperatorError: it lies after everything that was written.
    """
    if live.cluster.connection is None or not live.is_up():
        return  # the archive decides, once it is read
    try:
        with live.connect(statement_timeout=10) as connection:
            if one(connection, load_sql("lockdown/read_archiver").text)["in_recovery"]:
                return
            written = read_position(connection)[1]
    except (PlatformError, SqlError):
        return  # the run itself says what it cannot reach
    if point > written:
        raise OperatorError(
            f"The recovery point {format_lsn(point)} lies after everything that production has written: its WAL ends at "
            f"{format_lsn(written)}.",
            next="Choose an earlier position or a time, or -p recovery_point find",
        )
