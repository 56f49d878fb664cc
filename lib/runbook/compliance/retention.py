"""`RetentionReview`: what a notebook steps through to measure how long a cluster's backups, WAL and logs are really kept."""

from __future__ import annotations

from typing import Any

from runbook import layout
from runbook.compliance.logs import find_logs, read_log
from runbook.errors import ParamsError
from runbook.model import Check
from runbook.params.schema import Params
from runbook.retention.kept import check_logs
from runbook.retention.measuring import Kept


def check_parameters(params: Params, values: dict[str, Any]) -> None:
    """The notebook's parameters mean something on this target; nothing is started.

    Raises:
        OperatorError: they do not.
    """
    RetentionReview(params)
    if values["population"] not in ("own", "all"):
        raise ParamsError(
            f"population is own or all, not '{values['population']}'.", next="-p population own, or leave it out."
        )


class RetentionReview(Kept):
    """The state between the steps of one review; as `Kept`, and the logs."""

    def logs(self) -> list[Check]:
        """The server's logs against their rule."""
        duty, patterns = self.duties()["audit logs"], self.cluster.log_files
        if not patterns:
            return [check_logs(duty, None, (), "")]
        paths = find_logs(patterns)
        read = {path: read_log(path) for path in paths}
        unread = [layout.short(path) for path, log in read.items() if log is None and path.stat().st_size]
        return [check_logs(duty, [log for log in read.values() if log is not None], unread, ", ".join(patterns))]
