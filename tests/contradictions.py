"""What one report says against itself, by its words alone: looked for in every record that the shipped notebooks make."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

#: "1 relations", and words that end in s and are no plural.
_ONE = re.compile(r"(?<![\d.,/:\-–_#])\b1 ([a-z]{3,}s)\b(?! of\b(?= \d))")
_NO_PLURAL = frozenset(
    [
        "watches",
        "reaches",
        "is",
        "was",
        "has",
        "this",
        "process",
        "address",
        "status",
        "class",
        "access",
        "business",
        "pass",
        "progress",
        "always",
        "less",
        "across",
        "as",
        "success",
        "analysis",
        "ms",
        "vs",
        "plus",
        "does",
        "stops",
        "fails",
        "needs",
        "differs",
        "bus",
        "bytes",
    ]
)
_LSN = re.compile(r"\b([0-9A-F]{1,8})/([0-9A-F]{1,8})(?: to |–| and | bis )([0-9A-F]{1,8})/([0-9A-F]{1,8})\b")
_TIMES = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)\S* to (\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)")
_SHARE = re.compile(r"(\d[\d\u202f, ]*(?:\.\d+)?)\s*%")
_NEGATIVE = re.compile(
    r"(?:^|[\s(:])[-−](\d[\d,.]*)\s?(s|ms|min|h|d|hours?|days?|seconds?|minutes?|bytes|MB|MiB|GB|rows?)\b"
)
_NOTHING = re.compile(r"^Nothing was (measured|checked|observed|taken)\b\W*$")


def texts_of(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a JSON value, with where it is."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from texts_of(item, f"{path}.{name}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from texts_of(item, f"{path}[{number}]")


def in_text(text: str) -> Iterator[str]:
    """What a text says that cannot be: a plural of one, an interval that runs backward, a negative age."""
    for word in _ONE.findall(text):
        if word not in _NO_PLURAL and not word.endswith("ss"):
            yield f"plural of one: 1 {word}"
    for high, low, to_high, to_low in _LSN.findall(text):
        if (int(to_high, 16), int(to_low, 16)) < (int(high, 16), int(low, 16)):
            yield f"WAL that runs backward: {high}/{low} to {to_high}/{to_low}"
    for begin, end in _TIMES.findall(text):
        if end.replace("T", " ") < begin.replace("T", " "):
            yield f"time that runs backward: {begin} to {end}"
    for figure, unit in _NEGATIVE.findall(text):
        if figure != "1":  # PostgreSQL's own word for off, as a setting's value
            yield f"negative: -{figure} {unit}"


def in_record(record: dict[str, Any]) -> list[str]:
    """What run.json says against itself."""
    found = [f"{path}: {said}" for path, text in texts_of({**record, "parameters": {}}) for said in in_text(text)]
    verdict, checks, steps = record["verdict"], record["checks"], record["steps"]
    states = {check["status"] for check in checks}
    if verdict == "PASS":
        found += [f"PASS with a check that is {state}" for state in sorted(states - {"PASS"})]
        found += [
            f"PASS, and the step '{one['name']}' is {one['state']}"
            for one in steps
            if one["state"] not in ("done", "not applicable")
        ]
        found += [
            f"PASS, and the gate '{one['title']}' is {one['state']}"
            for one in record["gates"]
            if one["state"] not in ("passed", "previewed")
        ]
    if verdict == "FAIL" and "FAIL" not in states:
        found.append("FAIL without a check that failed")
    for measure in record["measures"]:
        over = measure["budget"] is not None and measure["value"] > measure["budget"]
        if over and verdict == "PASS" and not any(measure["title"] in said for said in record["limitations"]):
            found.append(f"PASS, and {measure['name']} is over its budget without a limitation")
        if over and record["satisfies_controls"]:
            found.append(f"satisfies controls, and {measure['name']} is over its budget")
        if measure["value"] < 0 and measure["name"] != "lateness":
            found.append(f"{measure['name']} is negative: {measure['value']}")
    for check in checks:
        if check["status"] == "PASS":
            found += [
                f"{check['id']} passed, and observed {share} %"
                for share in _SHARE.findall(check["observed"])
                if _over(share)
            ]
            found += [
                f"{check['id']} passed with a finding of severity {one['severity']}"
                for one in check["findings"]
                if one["severity"] in ("error", "critical")
            ]
            if re.search(r"\b(FAILED|OVER|MISSING|NOT DONE)\b", check["observed"]):
                found.append(f"{check['id']} passed, and observed: {check['observed']}")
    is_dry = record["parameters"].get("dry_run") is True
    if is_dry != record["reason"].startswith("DRY RUN"):
        found.append(f"dry run: {is_dry}, and the verdict says: {record['reason'][:60]}")
    for name in ("started_at", "ended_at"):
        found += [
            f"step '{one['name']}' ended before it began"
            for one in steps
            if name == "ended_at" and one["started_at"] and one["ended_at"] and one["ended_at"] < one["started_at"]
        ]
    if record["ended_at"] < record["started_at"]:
        found.append("the run ended before it began")
    return found


def _over(share: str) -> bool:
    return float(re.sub(r"[\u202f, ]", "", share)) > 100


def in_report(page: str, record: dict[str, Any]) -> list[str]:
    """What the page says against itself, or against its record."""
    head = page.split('<section aria-labelledby="notebook"')[0]
    words = unescape(re.sub(r"<[^>]+>", "\n", re.sub(r"<(style|script).*?</\1>", "", page, flags=re.S)))
    found = [f"page: {said}" for line in words.splitlines() for said in in_text(line)]
    if record["verdict"] == "PASS":
        found += [
            f"PASS beside a red mark: {mark}"
            for mark in re.findall(r'class="(?:status is-fail|state state-bad)"[^>]*>(?:<[^>]*>)*([^<]*)', head)
        ]
    if record["checks"]:
        found += [
            f"page: '{line.strip()}' over {len(record['checks'])} checks"
            for line in words.splitlines()
            if _NOTHING.match(line.strip())
        ]
    return found


def in_archive(folder: Path) -> list[str]:
    """In every record of an archive."""
    found = []
    for path in sorted(folder.glob("*/run.json")):
        record = json.loads(path.read_text("utf-8"))
        said = in_record(record) + in_report((path.parent / "report.html").read_text("utf-8"), record)
        found += [f"{path.parent.name}: {one}" for one in dict.fromkeys(said)]
    return found
