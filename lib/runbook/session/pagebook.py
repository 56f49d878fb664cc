"""The pages' part of the fold: who was called about a run, by whom, and which channel took it. A page changes no verdict."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from runbook.session.journal import Event

#: People are called while a run works, and hours after its attempt ended.
AFTERWARDS = {"page-begun", "page-ended"}


class PageFolding:
    """Handlers of pages; mixed into the fold. They outlive attempts."""

    def __init__(self) -> None:
        self.pages: dict[str, dict[str, Any]] = {}

    def on_page_begun(self, event: Event, at: datetime) -> None:
        """Until its end is journaled nobody knows whether it went out."""
        kept = {key: event[key] for key in ("role", "operator", "message", "people")}
        self.pages[event["page"]] = {"at": event["at"], **kept, "outcome": "not known: it broke off", "deliveries": []}

    def on_page_ended(self, event: Event, at: datetime) -> None:
        self.pages[event["page"]] |= {"outcome": event["outcome"], "deliveries": event["deliveries"]}

    def page_limits(self) -> tuple[str, ...]:
        """A page that reached nobody stands at the top."""
        return tuple(
            f"The page to {page['role']} at {page['at']} reached nobody: {page['outcome']}."
            for page in self.pages.values()
            if page["outcome"] != "accepted"
        )
