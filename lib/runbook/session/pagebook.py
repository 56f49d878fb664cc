"""The pages' part of the fold: who was called about a run, by whom, and which channel took it. A page changes no verdict."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from runbook.session.journal import Event

BROKE_OFF = "it broke off"

#: People are called while a run works, and hours after its attempt ended.
AFTERWARDS = {"page-begun", "page-sending", "page-sent", "page-ended"}


class PageFolding:
    """Handlers of pages; mixed into the fold. They outlive attempts."""

    def __init__(self) -> None:
        self.pages: dict[str, dict[str, Any]] = {}

    def on_page_begun(self, event: Event, at: datetime) -> None:
        """Whoever calls may die at any moment: until the end is journaled the page is as it would be then."""
        kept = {key: event.get(key) for key in ("role", "operator", "message", "people", "process")}
        self.pages[event["page"]] = {
            "page": event["page"], "at": event["at"], **kept, "outcome": BROKE_OFF, "deliveries": [],
        }  # fmt: skip

    def on_page_sending(self, event: Event, at: datetime) -> None:
        """What is known of the delivery if nothing more is ever written."""
        self.pages[event["page"]]["deliveries"] = [*self.pages[event["page"]]["deliveries"], event["delivery"]]

    def on_page_sent(self, event: Event, at: datetime) -> None:
        self.pages[event["page"]]["deliveries"] = [*self.pages[event["page"]]["deliveries"][:-1], event["delivery"]]

    def on_page_ended(self, event: Event, at: datetime) -> None:
        self.pages[event["page"]] |= {"outcome": event["outcome"], "deliveries": event["deliveries"]}

    def page_limits(self) -> tuple[str, ...]:
        """A page that reached nobody, or of which that is not known, stands at the top."""
        return tuple(page_said(page) for page in self.pages.values() if page["outcome"] != "accepted")


def is_broken_off(page: dict[str, Any]) -> bool:
    """True when the journal never said how it ended: whoever sent it died, or is at it now."""
    return bool(page["outcome"] == BROKE_OFF)


def page_said(page: dict[str, Any]) -> str:
    """A page that went wrong, in a sentence.

    >>> page_said({"role": "dba", "at": "T", "outcome": BROKE_OFF, "deliveries": []})
    'The page to dba at T broke off before anything was sent.'
    """
    what = f"The page to {page['role']} at {page['at']}"
    if not is_broken_off(page):
        return f"{what} reached nobody: {page['outcome']}."
    if not page["deliveries"]:
        return f"{what} broke off before anything was sent."
    told = "; ".join(f"{one['person']} by {one['channel']}: {one['went']}" for one in page["deliveries"])
    return f"{what} broke off: {told}."
