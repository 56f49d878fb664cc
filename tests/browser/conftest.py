"""A real Chromium without a network, and reports opened from the disk as an auditor opens them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright
from runbook.model import Verdict
from runbook.report.render import render_report
from sample_report import notebook, record


def chromium_program() -> str:
    """Debian's Chromium; without it the tests fail, and say how to get it."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found is not None:
            return found
    pytest.fail(
        "Chromium is not installed, so the report is unproven. Install it: apt-get install chromium", pytrace=False
    )
    raise AssertionError("unreachable")


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """One browser for all tests; `--no-sandbox` because CI runs as root in a container."""
    browser = playwright.chromium.launch(
        executable_path=chromium_program(),
        args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking"],
    )
    yield browser
    browser.close()


class OpenedReport:
    """A page that shows a report, and every request it asked for besides its own file."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.requests: list[str] = []
        self.console: list[str] = []
        page.on("console", lambda message: self.console.append(message.text))
        page.on("request", lambda request: self._note(request.url, address))
        page.goto(address)

    def _note(self, url: str, address: str) -> None:
        # A data: address is part of the file; Chromium reports it as a request all the same.
        if url != address and not url.startswith("data:"):
            self.requests.append(url)


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[Verdict, Path]:
    """A report of each verdict, in a folder with nothing else."""
    folder = tmp_path_factory.mktemp("copied")
    made = {}
    for verdict in Verdict:
        made[verdict] = folder / f"{verdict.value.lower()}.html"
        made[verdict].write_text(render_report(record(verdict), notebook(verdict)))
    return made


@pytest.fixture
def open_report(chromium: Browser, reports: dict[Verdict, Path]) -> Iterator[object]:
    """Opens a report (a verdict or a path) offline; keyword arguments go to the browser's context."""
    contexts = []

    def opened(which: Verdict | Path, **options: object) -> OpenedReport:
        context = chromium.new_context(offline=True, **{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        path = reports[which] if isinstance(which, Verdict) else which
        return OpenedReport(context.new_page(), path.as_uri())

    yield opened
    for context in contexts:
        context.close()
