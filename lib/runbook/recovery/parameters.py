"""The recovery notebook's parameters: looked at before anything is started."""

from __future__ import annotations

from typing import Any

from runbook.errors import OperatorError
from runbook.params.schema import Params, seconds_of
from runbook.platforms.cluster import service
from runbook.platforms.cluster.live import LiveServer
from runbook.platforms.cluster.window import parse_point
from runbook.recovery.identify import FIND
from runbook.recovery.minimising import Minimiser
from runbook.recovery.plans import FINAL, WAYS


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
        parse_point(values["recovery_point"])
    look_back_of(values["look_back"])
    if values["personal_data"] not in ("", "yes", "no"):
        raise OperatorError("personal_data is yes, no, or empty.", next="-p personal_data yes")
    way = values["way"].partition(":")[0].strip()
    if way and way not in WAYS:
        raise OperatorError(f"There is no way '{way}'.", next="-p way " + "|".join(FINAL))
    if values["acceptance"] not in ("", "accept", "back"):
        raise OperatorError("acceptance is accept, back, or empty.", next="-p acceptance accept")
    if params.environment == "production" and (way in FINAL or values["acceptance"]):
        raise OperatorError(
            "On a production target the way on and its acceptance are decided when there is something to see.",
            next="Leave out -p way and -p acceptance; the run asks.",
        )
    if not values["dry_run"]:
        service.require_service(params.cluster)


def look_back_of(text: str) -> float:
    """Seconds from `24 h`.

    Raises:
        OperatorError: it is no duration.
    """
    try:
        return float(str(seconds_of(text)))
    except ValueError as cause:
        raise OperatorError(f"look_back: {cause}.", next="-p look_back '24 h'") from None
