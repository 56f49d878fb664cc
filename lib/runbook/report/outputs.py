"""One output of a cell as HTML: the richest form that is safe, text where none is."""

from __future__ import annotations

from html import escape
from typing import Any

from runbook.report.markdown import markdown_html, mathml
from runbook.report.sanitise import clean_foreign, svg_image
from runbook.report.values import plain

#: Characters of one text output that a report shows; executed.ipynb keeps all of it.
LONGEST_TEXT = 100_000


def output_html(output: dict[str, Any], step: str) -> str:
    """HTML of one output.

    Args:
        output: as nbformat 4 has it.
        step: the heading it stands under, for pictures that describe themselves nowhere.
    """
    kind = output["output_type"]
    if kind == "stream":
        label = "Messages" if output.get("name") == "stderr" else "Output"
        return text_html(output.get("text", ""), label)
    if kind == "error":
        return _error_html(output)
    data, metadata = output.get("data", {}), output.get("metadata", {})
    rich = _rich_html(data, metadata, step)
    if rich:
        return f'<div class="output">{rich}</div>'
    if "text/plain" in data:
        return text_html(data["text/plain"], "Output")
    if not data:
        return ""
    return f'<p class="rb-note">[an output of type {escape(", ".join(sorted(data)))} is in executed.ipynb only]</p>'


def text_html(text: str, label: str) -> str:
    """Terminal text, without its colours; long ones are cut, and say so."""
    shown = plain(text)
    if not shown.strip():
        return ""
    cut = ""
    if len(shown) > LONGEST_TEXT:
        cut = (
            f'<p class="rb-note">[cut after {LONGEST_TEXT:,} of {len(shown):,} characters; '
            "executed.ipynb has all of it]</p>"
        )
        shown = shown[:LONGEST_TEXT]
    return f'<pre class="plain" role="group" tabindex="0" aria-label="{label}">{escape(shown)}</pre>{cut}'


def _error_html(output: dict[str, Any]) -> str:
    name, message = plain(output.get("ename", "Error")), plain(output.get("evalue", ""))
    trace = plain("\n".join(output.get("traceback", ())))
    folded = f"<details><summary>Traceback</summary>{text_html(trace, 'Traceback')}</details>" if trace.strip() else ""
    lines = "<br>".join(escape(line) for line in message.split("\n"))
    return f'<div class="error"><p><strong>{escape(name)}</strong></p><p>{lines}</p>{folded}</div>'


def _rich_html(data: dict[str, Any], metadata: dict[str, Any], step: str) -> str | None:
    described = str(data.get("text/plain", ""))
    fallback = (
        f"Picture in the step «{step}»" if described.startswith("<") or not described else described.split("\n")[0]
    )
    if "text/html" in data:
        return clean_foreign(data["text/html"])
    if "text/markdown" in data:
        return markdown_html(data["text/markdown"])
    if "image/svg+xml" in data:
        picture = svg_image(data["image/svg+xml"], fallback)
        if picture is None:
            return '<p class="rb-note">[an SVG that cannot be read is in executed.ipynb only]</p>'
        return _figure(picture, fallback)
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            alt = metadata.get(kind, {}).get("alt") or metadata.get("alt") or fallback
            address = f"data:{kind};base64,{''.join(data[kind].split())}"
            return _figure(f'<img class="picture" alt="{escape(str(alt))}" src="{escape(address)}">', str(alt))
    if "text/latex" in data:
        return mathml(data["text/latex"].strip().strip("$"), block=True)
    return None


def _figure(picture: str, label: str) -> str:
    return (
        f'<figure><div class="rb-scroll" role="group" tabindex="0" aria-label="{escape(label)}">'
        f"{picture}</div></figure>"
    )
