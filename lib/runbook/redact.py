"""Scrubbing of secrets from text and from structures, before anything is kept.

Secrets are passed by reference; whoever resolves one registers its value here. The scrubber replaces the value, its lines, the
passwords in it, and what each of these looks like when it is encoded, also as part of a longer encoded text.
"""

from __future__ import annotations

import base64
import html
import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, quote_plus, unquote

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
    re.compile(r"\b(?:(?:ssl)?password|passwd|pwd|token|secret|api_?key)\s*[=:]\s*['\"]?[^\s'\"]{4,}", re.IGNORECASE),
)


def looks_like_secret(text: str) -> bool:
    """True when the text has the shape of a credential.

    >>> looks_like_secret("postgres://app:hunter2hunter2@db/x"), looks_like_secret("latest")
    (True, False)
    """
    return any(shape.search(text) for shape in _SHAPES)


#: What a connection string calls a password; whatever else libpq would take is registered by `postgres.connect` when it connects.
_PASSWORDS = re.compile(r"(?:ssl)?password|passwd|pwd|pass", re.IGNORECASE)
#: Other names of credentials: short values of these are left alone, since they may be anything.
_CREDENTIALS = re.compile(
    r"(?:\w+_)?secret|(?:\w+_)?token|api_?key|access_?key|scram_\w+_key|sig(?:nature)?", re.IGNORECASE
)
_KEY_VALUE = re.compile(r"""([\w%]+)["']?\s*[=:]\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|(?:\\.|[^\s\\])+)""", re.DOTALL)
#: To libpq a double quote is a letter like any other.
_BARE = re.compile(r"""(\w+)\s*=\s*("(?:\\.|[^\s\\])*)""", re.DOTALL)
_QUERY = re.compile(r"[?&]([^=&\s]+)=([^&\s]*)")
_ARMOUR = re.compile(r"-----(?:BEGIN|END) [A-Z0-9 ]+-----")


def secret_parts(value: str) -> list[str]:
    """Return the value, its lines and the passwords inside it (of a URL, a conninfo string, a .pgpass line), each once.

    >>> secret_parts("postgres://app:hunter2%40x1@db/x")
    ['postgres://app:hunter2%40x1@db/x', 'hunter2%40x1', 'hunter2@x1']
    >>> secret_parts("postgresql://h/db?user=u&password=hunter2hunter2&port=5432")[1:]
    ['hunter2hunter2']
    """
    parts = [value, *_passwords(value)]
    lines = [line.strip() for line in value.splitlines()] if "\n" in value else []
    parts += [line for line in lines if len(line) >= SHORTEST and not _ARMOUR.fullmatch(line)]
    for line in lines or [value]:
        fields = re.split(r"(?<!\\):", line)
        if len(fields) == 5 and (fields[1].isdigit() or fields[1] == "*"):  # .pgpass: host:port:database:user:password
            parts += [fields[4], _unescaped(fields[4])]
    return list(dict.fromkeys(part for part in parts if part))


def _passwords(value: str) -> list[str]:
    """The passwords of a URL or a conninfo string: a superset of what libpq and others would read as one."""
    found: list[str] = []
    if "://" in value:
        place = value.partition("://")[2]
        # libpq ends a password at the first @, others at the last one.
        matches = [re.match(rf"[^:@/]*:({end})@", place) for end in (r"[^@/]*", r"[^/]*", r"[^/?#]*", r"\S*")]
        read = sorted({match[1] for match in matches if match is not None}, key=len)
        found += [one for one in read if len(one) >= SHORTEST] or read[-1:]
    pairs = [(unquote(name), text) for name, text in _QUERY.findall(value)]
    pairs += [(name, _unquoted(text)) for name, text in _KEY_VALUE.findall(value) if "://" not in text]
    pairs += _BARE.findall(value)
    for name, text in pairs:
        if _PASSWORDS.fullmatch(name) or (_CREDENTIALS.fullmatch(name) and len(text) >= SHORTEST):
            found.append(text)
    return [form for one in found for form in (one, unquote(one), _unescaped(one))]


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return _unescaped(text[1:-1]) if quoted else text


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


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


#: What bash's `printf %q` and its like put a backslash before.
_SHELL = re.compile(r"[\t !\"$&'()*,;<>?\[\\\]^`{|}]")


def forms_of(part: str) -> set[str]:
    """What the text looks like in a URL, in JSON, in Python, SQL, CSV, a shell or HTML, in hexadecimal and in base64."""
    data = part.encode("utf-8", "surrogateescape")
    slashed = part.replace("\\", "\\\\")
    quoted = [quote(data, safe=safe) for safe in ("", "/", "!'()*")] + [quote_plus(data)]
    return {
        part,
        *quoted,
        *(re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), one) for one in quoted),
        json.dumps(part)[1:-1],
        json.dumps(part, ensure_ascii=False)[1:-1],
        json.dumps(part)[1:-1].replace("/", "\\/"),
        repr(part)[1:-1],
        part.replace("\\", "\\\\").replace("'", "\\'"),
        part.replace("'", "''"),
        part.replace("'", "'\"'\"'"),
        part.replace("'", r"'\''"),
        _SHELL.sub(r"\\\g<0>", part),
        "".join(
            chr(byte) if byte < 128 else rf"\{byte:03o}"
            for byte in slashed.replace("'", r"\'").encode("utf-8", "surrogateescape")
        ),
        slashed.replace("'", "''"),
        slashed.replace(":", r"\:"),
        part.replace('"', '""'),
        quote(quote(data, safe=""), safe=""),
        ascii(part)[1:-1],
        repr(data)[2:-1],
        part.encode("ascii", "backslashreplace").decode(),
        html.escape(part),
        html.escape(part, quote=False),
        html.escape(part).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
        html.escape(part).replace("&#x27;", "&apos;"),
        data.hex(),
        data.hex().upper(),
        *base64_forms(part),
    }


#: What a reader does not see between two parts of a text: blanks, line ends, colours of a terminal, the quotes around a shown value.
_UNSEEN = re.compile(r"\s+|(?m:^['\"]|['\"]$)|\x1b\[[0-?]*[ -/]*[@-~]")
#: The same in HTML.
_UNSEEN_IN_HTML = re.compile(_UNSEEN.pattern + r"|<[^<>]*>")


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
            for form in forms_of(part):
                self._forms.setdefault(form, name)
        self._pattern = None

    def text(self, text: str) -> str:
        """The text without any registered secret."""
        if not self.holds(text):
            return text
        if self._pattern is None:
            longest_first = sorted(self._forms, key=len, reverse=True)
            self._pattern = re.compile("|".join(re.escape(form) for form in longest_first))
        return self._pattern.sub(lambda match: MARK.format(name=self._forms[match[0]]), text)

    def texts(self, texts: Sequence[str], *, is_html: bool = False) -> list[str]:
        """The texts, which a reader sees one after the other, without any secret that is split over them, or over lines.

        Args:
            texts: in the order they are seen.
            is_html: what is between two parts of a secret may be tags, which stay.
        """
        unseen = _UNSEEN_IN_HTML if is_html else _UNSEEN
        pieces = [(index, *span) for index, text in enumerate(texts) for span in _seen(text, unseen)]
        whole = "".join(texts[index][begin:end] for index, begin, end in pieces)
        marks = self._found(whole, unseen)
        if not marks:
            return list(texts)
        made, at = ["" for _ in texts], 0
        last = [0 for _ in texts]
        for index, begin, end in pieces:
            made[index] += texts[index][last[index] : begin] + _marked(whole, at, at + end - begin, marks)
            last[index], at = end, at + end - begin
        return [text + whole_text[end:] for text, whole_text, end in zip(made, texts, last, strict=True)]

    def _found(self, whole: str, unseen: re.Pattern[str]) -> list[tuple[int, int, str]]:
        """Where secrets are in a text without what is unseen: begin, end, what stands there instead; in order, none in another."""
        spans = []
        for form, name in self._forms.items():
            sought = unseen.sub("", form)
            at = whole.find(sought) if len(sought) >= SHORTEST else -1
            while at >= 0:
                spans.append((at, at + len(sought), MARK.format(name=name)))
                at = whole.find(sought, at + 1)
        merged: list[tuple[int, int, str]] = []
        for begin, end, mark in sorted(spans):
            if merged and begin < merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]), merged[-1][2])
            else:
                merged.append((begin, end, mark))
        return merged

    def value(self, value: Any) -> Any:
        """The structure with every string in it, keys included, scrubbed; a number that is a secret becomes its mark."""
        if not self._forms:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if isinstance(value, (int, float)) and (name := self._forms.get(str(value))) is not None:
            return MARK.format(name=name)
        return value

    def holds(self, text: str) -> bool:
        """True when the text has a registered secret in it."""
        return any(form in text for form in self._forms)


def _seen(text: str, unseen: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Begin and end of each part of the text that a reader sees."""
    at = 0
    for match in unseen.finditer(text):
        if match.start() > at:
            yield at, match.start()
        at = match.end()
    if at < len(text):
        yield at, len(text)


def _marked(whole: str, begin: int, end: int, marks: Sequence[tuple[int, int, str]]) -> str:
    """A part of the whole: each secret's mark stands where the secret begins, the rest of it is gone."""
    made, at = "", begin
    for first, last, mark in marks[bisect_right(marks, begin, key=lambda one: one[1]) :]:
        if first >= end:
            break
        made += whole[at : max(at, first)] + (mark if first >= begin else "")
        at = min(end, last)
    return made + whole[at:end]


#: One for the process: the kernel and the runner each resolve the secrets they need.
scrubber = Scrubber()
