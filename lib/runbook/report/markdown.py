"""A notebook's Markdown as part of a report: headings under the report's own, math as MathML, no raw surprises."""

from __future__ import annotations

import re
from html import escape, unescape
from typing import Any

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from runbook.report.sanitise import clean_foreign

#: The notebook's H1 stands under the report's H2.
HEADING_SHIFT = 2

_HEADING = re.compile(r"<h(\d)>(.*?)</h\1>", re.DOTALL)
_TAG = re.compile(r"<[^>]+>")


def slug(title: str) -> str:
    """A step's title as part of an address.

    >>> slug("Choose the backup (newest)")
    'choose-the-backup-newest'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "untitled"


def mathml(latex: str, *, block: bool) -> str:
    """A formula as MathML; what cannot be read as one stays as it was written."""
    from latex2mathml.converter import convert

    try:
        return str(convert(latex, display="block" if block else "inline"))
    except Exception:  # noqa: BLE001 - its errors have no root; the formula then stands as its own source
        return f"<code>{escape(latex)}</code>"


class _Renderer(IPythonRenderer):
    def block_math(self, body: str) -> str:
        return f"<div>{mathml(body, block=True)}</div>"

    def inline_math(self, body: str) -> str:
        return mathml(body, block=False)

    def latex_environment(self, name: str, body: str) -> str:
        latex = f"\\begin{{{name}}}{body}\\end{{{name}}}"
        return f"<div>{mathml(latex, block=True)}</div>"

    def block_code(self, code: str, info: str | None = None) -> str:
        return f'<pre tabindex="0">{escape(code)}</pre>'

    def image(self, text: str, url: str, title: str | None = None) -> str:
        if url.startswith("attachment:") and url.removeprefix("attachment:") not in self.attachments:
            url = ""  # said in words; nbconvert would give up the whole report
        return str(super().image(text, url, title))

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        depth = min(6, level + HEADING_SHIFT)
        return f"<h{depth}>{text}</h{depth}>\n"


def markdown_html(source: str, attachments: dict[str, Any] | None = None) -> str:
    """Safe HTML of a Markdown text."""
    renderer = _Renderer(escape=False, exclude_anchor_links=True, attachments=attachments or {})
    return clean_foreign(MarkdownWithMath(renderer=renderer).render(source))


class HeadingAddresses:
    """Gives the headings of one notebook an address each, every address once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def add(self, html: str) -> str:
        """The HTML with an id on each heading whose address is still free."""
        return _HEADING.sub(self._with_address, html)

    def _with_address(self, match: re.Match[str]) -> str:
        address = "step-" + slug(unescape(_TAG.sub("", match[2])))
        if address in self._taken:
            return match[0]
        self._taken.add(address)
        return f'<h{match[1]} id="{address}">{match[2]}</h{match[1]}>'
