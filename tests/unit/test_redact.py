"""A secret is found in whatever way it is written, encoded or split; what is no secret stays."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from runbook.errors import ParamsError, PlatformError
from runbook.params.loading import resolve_secret
from runbook.params.schema import Secret
from runbook.postgres.connect import connect, conninfo_parts
from runbook.redact import Scrubber, scrubber, secret_parts
from runbook.runner import stamps

CANARY = "k9&Zq'w/Lm2+xT7v"


@pytest.fixture(autouse=True)
def own_scrubber(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(scrubber, "_forms", {})
    monkeypatch.setattr(scrubber, "_pattern", None)
    yield


@pytest.mark.parametrize(
    "conninfo",
    [
        "postgresql://h/db?user=u&password={p}&port=5432",
        "postgresql://h/db?PASSWORD={p}",
        "postgresql://h/db?sslpassword={p}&sslmode=require",
        "postgresql://h/db?pass%77ord={p}",
        "postgresql://u:{p}@h1:5432,h2:5433/db?target_session_attrs=any",
        "host=h password={p} port=5432",
        "host=h PASSWORD = {p}",
        "host=h sslpassword='{p}' port=5432",
        "host=h\npassword={p}\nport=5432\n",
        '{{"user": "u", "password": "{p}"}}',
        "h:5432:db:u:{p}",
    ],
)
def test_password_of_a_connection_is_scrubbed_alone(conninfo: str) -> None:
    made = Scrubber()
    made.register("DB", conninfo.format(p="hunter2%2Fhunter2"))
    for shown in ("hunter2%2Fhunter2", "hunter2/hunter2", "hunter2%2fhunter2"):
        assert made.text(f"with {shown}.") in ("with «secret DB».", f"with {shown}."), shown
    assert "hunter2%2Fhunter2" not in made.text("FATAL: hunter2%2Fhunter2")
    if "://" in conninfo:
        assert made.text("it is hunter2/hunter2") == "it is «secret DB»"


PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=24)


@given(PRINTABLE, st.sampled_from(["password", "sslpassword"]))
@example('"half"andmore', "password")
def test_no_password_that_libpq_reads_is_missed(password: str, name: str) -> None:
    quoted = "'" + password.replace("\\", "\\\\").replace("'", "\\'") + "'"
    bare = password.replace("\\", "\\\\").replace("'", "\\'")
    for conninfo in (
        f"postgresql://u:{quote(password, safe='')}@h/db",
        f"postgresql://u@h/db?x=&{name}={quote(password, safe='')}".replace("x=&", "port=1&"),
        f"host=h {name}={quoted} port=1",
        f"host=h {name} = {bare}",
    ):
        read = conninfo_parts(conninfo)
        assert {read.get("password"), read.get("sslpassword")} & set(secret_parts(conninfo)), conninfo


def test_what_libpq_stumbles_over_is_not_repeated() -> None:
    for conninfo in (
        "host=h password=hunter2hunter2 secondhalf",
        "host=h PASSWORDS=x secondhalf",
        "postgresql://h/db?secondhalf",
    ):
        with pytest.raises(PlatformError) as refused:
            connect(conninfo=conninfo, application="x")
        assert "secondhalf" not in str(refused.value)
    assert conninfo_parts("host=@abstract")["host"] == "@abstract"
    with pytest.raises(PlatformError, match="an @ in its password") as refused:
        connect(conninfo="postgresql://u:hunter2@secondhalf@h/db", application="x")
    assert "secondhalf" not in str(refused.value) and "%40" in str(refused.value.next)


@pytest.mark.parametrize(
    "shown",
    [
        CANARY.encode().hex(), CANARY.encode().hex().upper(), quote(CANARY), re.sub("%..", lambda one: one[0].lower(), quote(CANARY, safe="")),
        json.dumps(CANARY).replace("/", "\\/"), CANARY.replace("'", "''"), CANARY.replace("'", "'\"'\"'"),
        CANARY.replace("&", "&amp;").replace("'", "&#39;"), CANARY.replace("&", "&amp;"), CANARY.replace("'", "\\'"),
        base64.b64encode(f"user:{CANARY}".encode()).decode(),
    ],
)  # fmt: skip
def test_every_way_to_write_it_is_scrubbed(shown: str) -> None:
    made = Scrubber()
    made.register("DB", CANARY)
    assert "«secret DB»" in made.text(f"a {shown} b")
    assert not made.holds(made.text(f"a {shown} b"))


LONG = "it's\"a\\long one$"


@pytest.mark.parametrize(
    ("password", "shown"),
    [
        (LONG, "'it'\\''s\"a\\long one$'"),
        (LONG, "it\\'s\\\"a\\\\long\\ one\\$"),
        (LONG, "E'it''s\"a\\\\long one$'"),
        (LONG, '"it\'s""a\\long one$"'),
        ("two:halves\\of one", "h:5432:*:u:two\\:halves\\\\of one"),
        ("pass word/one", "https%3A%2F%2Fh%2F%3Fp%3Dpass%2520word%252Fone"),
        ("pässword-one", "'p\\xe4ssword-one'"),
        ("pässword-one", "b'p\\xc3\\xa4ssword-one'"),
        ("pässword's", "$'p\\303\\244ssword\\'s'"),
        ("päss'\"word\\", "p\\xe4ss'\"word\\"),
    ],
    ids=["traced", "escaped", "SQL", "CSV", "pgpass", "URL in a URL", "ascii", "bytes", "octal", "C locale"],
)
def test_password_is_scrubbed_as_shells_and_tracebacks_show_it(password: str, shown: str) -> None:
    made = Scrubber()
    made.register("DB", password)
    assert "«secret DB»" in made.text(f"+ true {shown}")


def test_each_line_of_a_secret_file_is_scrubbed_alone(tmp_path: Path) -> None:
    lines = [
        "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAAB",
        "AAAAMwAAAAtzc2gtZWQyNTUxOQAAACBd5f0Z1",
        "c2hvcnQ=",
    ]
    file = tmp_path / "key"
    file.write_text("\n".join(["-----BEGIN OPENSSH PRIVATE KEY-----", *lines, "-----END OPENSSH PRIVATE KEY-----", ""]))
    file.chmod(0o600)
    resolve_secret(Secret(file=str(file)), "x")
    for line in lines:
        assert scrubber.text(f"> {line}") == "> «secret key»"
    assert scrubber.text("-----BEGIN OPENSSH PRIVATE KEY-----") == "-----BEGIN OPENSSH PRIVATE KEY-----"


def test_password_too_short_to_scrub_is_refused_wherever_it_stands() -> None:
    for value in ("postgresql://h/db?password=short", "host=h password='sh rt' port=1", "h:5432:db:u:short"):
        with pytest.raises(ParamsError, match="shorter than"):
            Scrubber().register("DB", value)
    Scrubber().register("HOOK", "https://hooks.example/services?token_type=bearer&sig=x")


def test_number_that_is_a_secret_is_scrubbed_as_a_number() -> None:
    made = Scrubber()
    made.register("PIN", "1234567890")
    assert made.value({"a": [1234567890, 1234567891, True, 1.5]}) == {"a": ["«secret PIN»", 1234567891, True, 1.5]}


def stream(name: str, text: str) -> Any:
    return nbformat.v4.new_output("stream", name=name, text=text)


def shown(text: str) -> Any:
    return nbformat.v4.new_output("execute_result", data={"text/plain": text}, execution_count=1)


@pytest.mark.parametrize(
    "cells",
    [
        [[stream("stdout", "a hunter2\n")], [stream("stdout", "hunter2\n")]],
        [[stream("stdout", "hunter2"), stream("stderr", "warning\n"), stream("stdout", "hunter2")]],
        [[stream("stderr", "hunter2"), stream("stdout", "x"), stream("stderr", "hunter2")]],
        [[stream("stdout", "hun"), stream("stderr", "x")], [stream("stdout", "ter2hun")], [stream("stdout", "ter2 b")]],
        [[stream("stdout", "hunter2")], [shown("hunter2")]],
        [[shown("'hunter2'")], [shown('"hunter2"')]],
        [[stream("stdout", "\x1b[31mhunter2\x1b[0mhunter2")]],
        [[stream("stdout", "hunter2\nhunter2\n")]],
        [[stream("stdout", base64.b64encode(b"hunter2hunter2").decode()[:9] + "\n")], [stream("stdout", base64.b64encode(b"hunter2hunter2").decode()[9:])]],
    ],
)  # fmt: skip
def test_secret_split_over_cells_streams_and_lines_is_scrubbed_when_saved(
    cells: list[list[Any]], tmp_path: Path
) -> None:
    scrubber.register("DB", "hunter2hunter2")
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell("1", outputs=outputs) for outputs in cells]
    stamps.save_notebook(notebook, tmp_path / "x.ipynb")
    text = (tmp_path / "x.ipynb").read_text()
    assert "hunter2" not in text and base64.b64encode(b"hunter2hunter2").decode()[:9] not in text
    assert "«secret DB»" in text
    nbformat.validate(nbformat.read(tmp_path / "x.ipynb", as_version=4))


def test_secret_split_over_tags_is_scrubbed_and_the_tags_stay() -> None:
    made = Scrubber()
    made.register("DB", CANARY)
    text = "<td>k9&amp;Zq&#x27;w</td> <td class='x'>/Lm2+xT7v</td><td>k9&amp;</td>"
    assert made.texts([text], is_html=True) == ["<td>«secret DB»</td> <td class='x'></td><td>k9&amp;</td>"]


@given(st.lists(st.text(st.sampled_from("ab \n"), max_size=6), max_size=6))
def test_text_without_a_secret_stays_as_it_is(texts: list[str]) -> None:
    made = Scrubber()
    made.register("DB", "abababababababab")
    if not made.holds("".join("".join(texts).split())):
        assert made.texts(texts) == texts
    else:
        assert "abababab" * 2 not in "".join("".join(made.texts(texts)).split())
