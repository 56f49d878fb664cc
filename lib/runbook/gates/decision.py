"""`Decision`: what one person said about one plan. Its bytes are what is signed."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import Field, ValidationError

from runbook import clock
from runbook.model import Frozen

SCHEMA = "runbook.decision/1"
NAMESPACE = "runbook-approval"


class Kind(StrEnum):
    """What was decided. The value is also part of the file's name."""

    APPROVAL = "approval"
    REJECTION = "rejection"
    BREAK_GLASS = "break-glass"
    COUNTERSIGN = "countersign"


class Decision(Frozen):
    """One person's decision on the plan of one gate of one run.

    `plan` is the plan's hash. `changes` is how many changes of code, params or library had been accepted in the run:
    a later one voids the decision. `inputs` is the digest of what the run executes (notebook, library, params, SQL) as it
    was when the decision was made, `needed` how many approvals the gate asked for. `principal` is the person as allowed_signers names them, `key` the fingerprint of
    the key, `user` the operating-system user at whose terminal it was made. A break-glass may be unsigned (`key` is
    None). A countersignature names the archived `record` it is about and the digest of that record's SHA256SUMS.
    """

    schema_version: str = Field(default=SCHEMA, alias="schema", serialization_alias="schema")
    decision: Kind
    run: str
    gate: str
    plan: str = Field(pattern=r"^[0-9a-f]{64}$")
    changes: int
    inputs: str | None = None
    needed: int | None = None
    principal: str
    key: str | None
    at: datetime
    expires: datetime
    comment: str = ""
    user: str = ""
    record: str | None = None
    record_sums: str | None = None

    def canonical(self) -> bytes:
        """The signed bytes: JSON in ASCII, keys sorted, one newline at the end."""
        content: dict[str, Any] = self.model_dump(mode="json", by_alias=True)
        content["at"], content["expires"] = clock.stamp(self.at), clock.stamp(self.expires)
        return (json.dumps(content, sort_keys=True, indent=1) + "\n").encode("ascii")

    def ends_at(self, valid_for_seconds: float) -> datetime:
        """When it stops to count: what it says itself, and never later than the rules allow."""
        return min(self.expires, self.at + timedelta(seconds=valid_for_seconds))


def read_decision(data: bytes) -> Decision | None:
    """The decision in a file's bytes; None when they are none."""
    try:
        read = Decision.model_validate_json(data)
    except ValidationError:
        return None
    aware = read.at.tzinfo is not None and read.expires.tzinfo is not None
    return read if aware and read.schema_version == SCHEMA else None
