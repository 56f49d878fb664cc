"""Scrubbing of secrets from text and from structures, before anything is kept.

A secret travels by name; whoever resolves it registers its value here. The scrubber replaces the value, its
URL-encoded, JSON-escaped, HTML-escaped, hexadecimal and base64 forms, also as part of a longer encoded text.
"""

from __future__ import annotations

import base64
import html
import json
import re
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from runbook.errors import ParamsError

MARK = "«secret {name}»"
SHORTEST = 8

#: Shapes of values that are secrets wherever they stand.
_SHAPES = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    re.compile(r"\bsbp_[0-9a-f]{20,}"),
    re.compile(r"\b(?:ghp|gho|ghs|glpat|xox[abp])[-_][A-Za-z0-9_-]{16,}"),
    re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\."),
    re.compile(r"\b[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@", re.IGNORECASE),
    re.compile(r"\b(?:password|passwd|pwd|token|secret|api_?key)\s*[=:]\s*[^\s'\"]{4,}", re.IGNORECASE),
)


def looks_like_secret(text: str) -> bool:
    """True when the text has the shape of a credential.

    >>> looks_like_secret("postgres://app:hunter2hunter2@db/x"), looks_like_secret("latest")
    (True, False)
    """
    return any(shape.search(text) for shape in _SHAPES)


def secret_parts(value: str) -> list[str]:
    """The value and the passwords inside it (of a URL or a conninfo string), longest first.

    >>> secret_parts("postgres://app:hunter2%40x1@db/x")
    ['postgres://app:hunter2%40x1@db/x', 'hunter2%40x1', 'hunter2@x1']
    """
    parts = [value]
    try:
        password = urlsplit(value).password if "://" in value else None
    except ValueError:
        password = None
    if password:
        parts += [password, unquote(password)]
    for match in re.finditer(r"password\s*=\s*('(?:[^'\\]|\\.)*'|\S+)", value):
        quoted = match[1]
        parts.append(re.sub(r"\\(.)", r"\1", quoted[1:-1]) if quoted.startswith("'") else quoted)
    return list(dict.fromkeys(parts))


def address_parts(address: str) -> list[str]:
    """The tokens in a notification address, which services write into paths, hosts and queries; names of hosts, mail addresses and
    ordinary words are none.

    >>> address_parts("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7F/#incidents")
    ['T1JJ3T3L2', 'A1BRTD4JD', 'TIiajkdnlazkcOXrIdevi7F']
    >>> address_parts("json://hooks.corp.net:8080/services/on-call/?to=dba%40corp.net")
    []
    """
    _, _, rest = address.partition("://")
    place = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2].partition(":")[0]
    found = []
    for part in re.split(r"[/?&=:@#,\s]+", rest):
        plain = unquote(part)
        is_host = part == place and ("." in part or part == "localhost")
        is_word = len(plain) < 16 and re.fullmatch(r"[a-z._-]*", plain) is not None
        if len(plain) >= SHORTEST and not (is_host or is_word or "@" in plain):
            found += [plain, part]
    return list(dict.fromkeys(found))


def base64_forms(text: str) -> list[str]:
    """What base64 makes of the text wherever it stands in a longer one: whole, and what is sure of it at each offset.

    >>> any(form in base64.b64encode(b"user:hunter2hunter2@db").decode() for form in base64_forms("hunter2hunter2"))
    True
    """
    data = text.encode()
    forms = [base64.b64encode(data).decode()]
    for before in range(3):
        # Each letter holds six bits: those that are wholly the text's own are the same whatever surrounds it.
        first, last = -(-before * 8 // 6), (before + len(data)) * 8 // 6
        forms.append(base64.b64encode(b"\0" * before + data + b"\0" * 3).decode()[first:last])
    forms += [form.translate(str.maketrans("+/", "-_")) for form in forms]
    return list(dict.fromkeys(forms))


class Scrubber:
    """Replaces registered secrets by their names; safe to call with anything that JSON can hold."""

    def __init__(self) -> None:
        self._forms: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    def register(self, name: str, value: str) -> None:
        """The value is scrubbed from now on.

        Raises:
            ParamsError: the secret is too short to scrub without mangling ordinary text.
        """
        if not value:
            return
        for part in secret_parts(value):
            if len(part) < SHORTEST:
                raise ParamsError(
                    f"The secret {name} (or the password in it) is shorter than {SHORTEST} characters: it could "
                    "not be kept out of logs and reports.",
                    next="Use a longer one.",
                )
            for form in (
                part,
                quote(part, safe=""),
                json.dumps(part)[1:-1],
                json.dumps(part, ensure_ascii=False)[1:-1],
                repr(part)[1:-1],
                html.escape(part),
                part.encode().hex(),
                *base64_forms(part),
            ):
                self._forms[form] = name
        longest_first = sorted(self._forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(re.escape(form) for form in longest_first))

    def text(self, text: str) -> str:
        """The text without any registered secret."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: MARK.format(name=self._forms[match[0]]), text)

    def value(self, value: Any) -> Any:
        """The structure with every string in it, keys included, scrubbed."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        return value

    def holds(self, text: str) -> bool:
        """True when the text has a registered secret in it."""
        return self._pattern is not None and self._pattern.search(text) is not None


#: One for the process: the kernel and the runner each resolve the secrets they need.
scrubber = Scrubber()
