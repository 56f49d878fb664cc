"""Handle text from outside: read it as UTF-8 whatever the locale, make it visible, cut it where it is too long."""

from __future__ import annotations

import codecs
import re
import stat
from pathlib import Path

from runbook import clock, layout
from runbook.errors import ParamsError

#: Characters of one text in a table, a page, a message or a variable; run.json keeps the whole of a check's reason and of a finding.
LONGEST = 4000
_SLACK = len("… (1023.9 KiB)")
#: Half characters, for which UTF-8 has no form. A byte that is no UTF-8, as Python keeps it in names from the system (PEP 383), is shown.
_HALVES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd") | {
    0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)
}
#: What would be invisible, or would turn the text around it: each shown as what it is.
_SEEN = {code: chr(0x2400 + code) for code in range(0x20) if code not in (0x09, 0x0A)} | {
    0x7F: "\u2421",
    **{
        code: f"[U+{code:04X}]"
        for code in (0x61C, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xFEFF)
    },
    **{code: f"[U+{code:04X}]" for code in range(0x80, 0xA0)},
    **_HALVES,
}
#: The same inside a JSON text, where a backslash is written twice.
_JSON_HALVES = {code: shown.replace("\\", "\\\\") for code, shown in _HALVES.items()}
#: Control characters that no text of ours needs: all but tab, line feed and carriage return.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


def escaped(text: str) -> str:
    r"""Return the text with bytes that are no UTF-8 shown, and all else as it is.

    >>> escaped("b\udcfcro\n"), escaped("half \ud83d"), escaped("café")
    ('b\\xfcro\n', 'half \ufffd', 'café')
    """
    return text if text.isascii() else text.translate(_HALVES)


def visible(text: str) -> str:
    r"""Return the text with nothing hidden: controls as their pictures, bidirectional marks as their names.

    >>> visible("\x1b[31mFAIL\rPASS\0"), visible("safe\u202eLIAF"), visible("a\r\nb\tc"), visible("m\udce4rz")
    ('␛[31mFAIL␍PASS␀', 'safe[U+202E]LIAF', 'a\nb\tc', 'm\\xe4rz')
    """
    return text.replace("\r\n", "\n").translate(_SEEN)


def escaped_json(text: str) -> str:
    r"""Return what `escaped` does for a text that is JSON.

    >>> escaped_json('{"name": "caf\udce9.csv"}')
    '{"name": "caf\\\\xe9.csv"}'
    """
    return text if text.isascii() else text.translate(_JSON_HALVES)


def visible_line(text: str) -> str:
    r"""Return the same on one line: a name from outside must not write a line of its own.

    >>> visible_line("t\nPASS: all is well\x07")
    't␊PASS: all is well␇'
    """
    return visible(text).replace("\n", "\u240a")


def many(number: int, noun: str, nouns: str | None = None) -> str:
    """Return how many of what, in words that agree.

    >>> many(1, "relation"), many(0, "relation"), many(1200, "copy", "copies")
    ('1 relation', '0 relations', '1,200 copies')
    """
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def unit_of(value: float, unit: str) -> str:
    """Return the unit as it stands beside that value: a plural noun is a single one beside 1.

    >>> [unit_of(1, unit) for unit in ("roles", "policies", "indexes", "ms", "s", "days past the end", "times the threshold")]
    ['role', 'policy', 'index', 'ms', 's', 'day past the end', 'times the threshold']
    >>> unit_of(2, "roles"), unit_of(1, "status"), unit_of(1, "bytes")
    ('roles', 'status', 'byte')
    """
    word, space, rest = unit.partition(" ")
    if value != 1 or len(word) < 4 or word == "times" or not word.endswith("s") or word.endswith(("ss", "us")):
        return unit
    for ending, single in (("ies", "y"), ("xes", "x"), ("s", "")):
        if word.endswith(ending):
            return word.removesuffix(ending) + single + space + rest
    return unit


def cut(text: str, limit: int) -> str:
    """Return the text, or its beginning and how long the whole is.

    >>> cut("short", 10), cut("x" * 2048, 4), cut(cut("x" * 2048, 4), 4)
    ('short', 'xxxx… (2.0 KiB)', 'xxxx… (2.0 KiB)')
    """
    if len(text) <= limit + _SLACK:  # what was cut before is not cut again
        return text
    size = len(text.encode("utf-8", "surrogatepass"))
    return f"{text[:limit]}… ({clock.human_bytes(size)})"


def control_line(text: str) -> int | None:
    """Return the line of the first control character, or None.

    >>> control_line("a: 1\\nb: \\x00"), control_line("a: 1\\n")
    (2, None)
    """
    found = _CONTROL.search(text)
    return None if found is None else text.count("\n", 0, found.start()) + 1


def read_utf8(path: Path, limit: int) -> str:
    """Return the text of a file that a person has written.

    Args:
        limit: the most bytes it may have.

    Raises:
        ParamsError: it cannot be read, is no regular file, is too large, or is not UTF-8; with file and line.
    """
    where = layout.short(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ParamsError(f"{where} is not a regular file.", next=f"ls -l {path}")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as cause:
        raise ParamsError(f"{where} cannot be read: {cause.strerror}.", next=f"ls -ld {path}") from cause
    if len(data) > limit:
        raise ParamsError(f"{where} is larger than {clock.human_bytes(limit)} and was not read.", next=f"ls -l {path}")
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode(
            "utf-8"
        )  # not utf-8-sig: that codec is one more module to load
    except UnicodeDecodeError as cause:
        line = data.count(b"\n", 0, cause.start) + 1
        raise ParamsError(
            f"{where}:{line}: the byte 0x{data[cause.start]:02x} is not UTF-8.",
            next=f"Save the file as UTF-8, such as: iconv -f LATIN1 -t UTF-8 {path} -o {path}.utf8 && mv {path}.utf8 {path}",
        ) from None
