"""A message is accepted only when a real server has taken it; what hangs, refuses or redirects is told with its reason, without secrets."""

from __future__ import annotations

import time

import pytest
from posthouse import free_port, mail_server, mute_server, web_server
from runbook.outside.notify import address_problems, send
from runbook.redact import Scrubber, address_parts, scrubber

PASSWORD = "c4nary-Sesame-77"


@pytest.fixture(autouse=True)
def clean_scrubber(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubber, "_forms", {})
    monkeypatch.setattr(scrubber, "_pattern", None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


def test_mail_arrives_with_subject_and_body() -> None:
    with mail_server() as (box, port):
        sent = send(
            f"mailto://127.0.0.1:{port}/?from=run@corp.net&to=dba@corp.net", "PAGE dba", "line\nNext: x", timeout=10
        )
    assert sent.ok, sent.said
    (mail,) = box.mails
    assert (mail["Subject"], mail["To"]) == ("PAGE dba", "dba@corp.net")
    body = mail.get_body(("plain",)) or mail
    assert body.get_content().split() == ["line", "Next:", "x"]


def test_text_from_outside_adds_no_header_and_no_control_character() -> None:
    title = "PAGE dba\r\nBcc: thief@evil.example\n\n[bold]<b>x"
    with mail_server() as (box, port):
        sent = send(
            f"mailto://127.0.0.1:{port}/?from=run@corp.net&to=dba@corp.net", title, "a\x1b[2J <b>b</b>", timeout=10
        )
    assert sent.ok, sent.said
    (mail,) = box.mails
    assert mail["Bcc"] is None and mail["To"] == "dba@corp.net"
    assert "[bold]<b>x" in str(mail["Subject"])
    body = (mail.get_body(("plain",)) or mail).get_content()
    assert "a␛[2J" in body


def test_webhook_gets_title_and_message() -> None:
    with web_server() as web:
        sent = send(f"json://127.0.0.1:{web.port}/hook", "PAGE dba", "body", timeout=10)
    assert sent.ok, sent.said
    assert [(one["title"], one["message"]) for one in web.bodies] == [("PAGE dba", "body")]


@pytest.mark.parametrize("path", ["500", "404", "302"])
def test_answer_that_is_no_success_is_refused(path: str) -> None:
    with web_server() as web:
        sent = send(f"json://127.0.0.1:{web.port}/{path}", "t", "b", timeout=10)
    assert not sent.ok and path in sent.said
    assert len(web.bodies) == 1, "a redirect was followed, or the message was sent twice"


def test_refused_mailbox_says_why() -> None:
    with mail_server() as (box, port):
        sent = send(f"mailto://127.0.0.1:{port}/?from=run@corp.net&to=nobody@corp.net", "t", "b", timeout=10)
    assert (sent.ok, box.mails) == (False, []) and "no such mailbox" in sent.said


def test_nobody_listens() -> None:
    sent = send(f"mailto://127.0.0.1:{free_port()}/?from=run@corp.net&to=dba@corp.net", "t", "b", timeout=10)
    assert sent.ok is False and "refused" in sent.said, "nothing went out"


def test_password_is_not_sent_to_a_server_without_tls() -> None:
    with mail_server() as (box, port):
        address = f"mailtos://dba:{PASSWORD}@127.0.0.1:{port}/?from=run@corp.net&to=dba@corp.net&mode=starttls"
        sent = send(address, "t", "b", timeout=10)
    assert (sent.ok, box.mails) == (False, []) and "STARTTLS" in sent.said


@pytest.mark.parametrize("scheme", ["mailto", "json"])
def test_mute_server_is_left_after_its_time(scheme: str) -> None:
    began = time.monotonic()
    with mute_server() as port:
        sent = send(f"{scheme}://127.0.0.1:{port}/?from=run@corp.net&to=dba@corp.net", "t", "b", timeout=1)
    assert sent.ok is None and time.monotonic() - began < 8, "it may have gone out"


def test_answer_that_drips_for_ever_is_left_after_its_time() -> None:
    began = time.monotonic()
    with web_server() as web:
        sent = send(f"json://127.0.0.1:{web.port}/drip", "t", "b", timeout=1)
    assert (sent.ok, sent.said) == (None, "no answer within 1 s"), "it may have gone out"
    assert time.monotonic() - began < 10


def test_addresses_are_judged_without_a_call() -> None:
    with web_server() as web:
        problems = address_problems(
            [f"json://127.0.0.1:{web.port}/", "nonsense", f"mailto://dba:{PASSWORD}@mail.corp.net?to=a@corp.net"]
        )
        assert web.bodies == []
    assert problems == [None, "apprise does not understand the address", "it would send its password without TLS"]


def test_tokens_of_an_address_are_scrubbed_one_by_one_and_words_are_not() -> None:
    address = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7F"
    own = Scrubber()
    for part in address_parts(address):
        own.register("SLACK", part)
    text = own.text(
        "POST https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7F: 404 by services"
    )
    assert text == "POST https://hooks.slack.com/services/«secret SLACK»/«secret SLACK»/«secret SLACK»: 404 by services"
