from __future__ import annotations

import hashlib
import hmac
import json

from accounts.notices.events import Kind
from accounts.notices.messages import Message, letter, payload, signature, subject
from tests.builders import NOW
from tests.conftest import ROOT

MESSAGE = Message("id-1", "pool_low", NOW, "The pool is low", "4 % is left.", data={"window": "primary"})


def test_the_payload_has_the_documented_fields() -> None:
    assert json.loads(payload(MESSAGE)) == {
        "id": "id-1",
        "kind": "pool_low",
        "at": "2026-11-20T12:00:00Z",
        "title": "The pool is low",
        "text": "4 % is left.",
        "account": None,
        "data": {"window": "primary"},
        "link": None,
    }


def test_the_documentation_shows_every_field_and_kind() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    shown = json.loads(text.split("```json\n")[1].split("```")[0])
    assert shown.keys() == json.loads(payload(MESSAGE)).keys()
    assert [kind for kind in Kind if f"| `{kind}` |" not in text] == []


def test_an_account_is_named_with_its_id() -> None:
    message = Message("i", "k", NOW, "t", "t", "acc-1", "ann@example.com", link="https://x.example/admin/")
    told = json.loads(payload(message))
    assert told["account"] == {"id": "acc-1", "name": "ann@example.com"}
    assert told["link"] == "https://x.example/admin/"


def test_whatever_an_account_is_called_can_be_sent() -> None:
    message = Message("i", "k", NOW, "a\nBcc: all@example.com", "half a pair: \ud800 ü", "a", "ü\x00")
    assert json.loads(payload(message))["account"]["name"] == "ü\x00"
    assert subject(message) == "[codexproxy] a Bcc: all@example.com"
    assert len(subject(Message("i", "k", NOW, "x" * 500, ""))) == 150


def test_the_signature_covers_the_time_and_the_body() -> None:
    expected = hmac.new(b"key", b"1700000000.{}", hashlib.sha256).hexdigest()
    assert signature("key", 1_700_000_000, b"{}") == f"sha256={expected}"
    assert signature("key", 1_700_000_001, b"{}") != f"sha256={expected}"


def test_a_letter_says_what_and_when_and_leads_to_the_dashboard() -> None:
    message = Message("i", "k", NOW, "t", "4 % is left.", link="https://x.example/admin/")
    assert letter(message).startswith("4 % is left.\n\n2026-11-20 12:00:00 UTC\n\nhttps://x.example/admin/\n")
    assert "http" not in letter(MESSAGE)
