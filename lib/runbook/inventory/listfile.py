"""`params/access/<target>.yaml`: an inventory that people approve. The same inventory gives the same items, sorted, one a line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import yaml
from pydantic import Field, ValidationError

from runbook import clock
from runbook.errors import ParamsError
from runbook.inventory.items import Inventory, Kinds
from runbook.model import Frozen
from runbook.params import yamlfile

SCHEMA: Literal["runbook.access-list/1"] = "runbook.access-list/1"
_HEAD = """\
# Who may do what on '{target}'. Written by `runbook run access-audit`; it counts only with its approval beside it:
# runbook access approve RUN --key KEY
"""


class AccessList(Frozen):
    """The file. `made_by` are the operating-system users who ran the audit that wrote it, `run` that audit."""

    schema_version: Literal["runbook.access-list/1"] = Field(
        default=SCHEMA, alias="schema", serialization_alias="schema"
    )
    target: str
    system_identifier: str | None = None
    made_at: datetime
    made_by: tuple[str, ...]
    run: str
    server: Kinds
    databases: dict[str, Kinds]
    unseen: dict[str, str]

    @property
    def inventory(self) -> Inventory:
        return Inventory(self.server, self.databases, self.unseen)

    def text(self) -> str:
        """The file's text."""
        content = self.model_dump(mode="json", by_alias=True)
        content["made_at"] = clock.stamp(self.made_at)
        body = yaml.dump(
            content, Dumper=_DUMPER, sort_keys=True, default_flow_style=None, width=1_000_000, allow_unicode=False
        )
        return _HEAD.format(target=self.target) + str(body)


_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_list(text: str, where: str) -> AccessList:
    """The list in a file's text.

    Raises:
        ParamsError: it is none.
    """
    try:
        yamlfile.refuse_depth(text, where, aliases=False)
        data = yaml.load(text, Loader=_LOADER)  # noqa: S506 - a SafeLoader
        read = AccessList.model_validate(data)
    except (yaml.YAMLError, ValidationError, ValueError, AttributeError) as cause:  # a tag on what is none, too
        first = str(cause).splitlines()[0]
        raise ParamsError(
            f"{where} is no list of accesses: {first}.", next="Have it written anew: runbook run access-audit"
        ) from None
    if read.made_at.tzinfo is None:
        raise ParamsError(f"{where}: made_at has no time zone.", next="Have it written anew.")
    return read


@dataclass(frozen=True)
class Approved:
    """What stands as the approved list of a target.

    `list` None: there is none that counts, and `problem` says why. `is_missing`: nobody has approved one yet; else what is there was
    tampered with or approved by the wrong person. `number` counts the approvals.
    """

    where: str
    list: AccessList | None = None
    problem: str | None = None
    is_missing: bool = False
    approver: str | None = None
    approved_at: datetime | None = None
    number: int = 0
    sha256: str | None = None
