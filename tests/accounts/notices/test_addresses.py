from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from accounts.notices.addresses import check_host, check_mailboxes, check_url


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/services/T0/B0/x?token=1",
        "http://127.0.0.1:8080",
        "http://[::1]:8080/x",
        "http://ntfy/codexproxy",
        "http://my_container:80/",
    ],
)
def test_a_web_address_is_taken(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("hooks.example.com", "must begin with https"),
        ("ftp://example.com/", "must begin with https"),
        ("file:///etc/passwd", "must begin with https"),
        ("https://", "names no host"),
        ("https:///path", "names no host"),
        ("https://exa mple.com/", "spaces"),
        ("https://example.com/\r\nX: y", "spaces"),
        ("https://exämple.com/", "unusual characters"),
        ("https://user:word@example.com/", "No user name"),
        ("https://example.com/#part", "behind #"),
        ("https://example.com:0/", "names no host"),
        ("https://example.com:99999/", "no web address"),
        ("https://[::1/", "no web address"),
        ("https://-example-.com/", "names no host"),
        ("https://example.com/" + "x" * 2000, "too long"),
    ],
)
def test_what_is_no_web_address_is_refused(url: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        check_url(url)


@pytest.mark.parametrize("host", ["smtp.example.com", "mail", "192.0.2.1", "::1", "smtp.example.com."])
def test_a_server_is_a_name_or_an_address(host: str) -> None:
    check_host(host)


@pytest.mark.parametrize(
    "host", ["", "a b", "smtp.example.com:587", "https://smtp.example.com", "a..b", "x" * 300]
)
def test_anything_else_is_no_server(host: str) -> None:
    with pytest.raises(ValidationError):
        check_host(host)


def test_recipients_are_separated_by_commas() -> None:
    check_mailboxes("a@example.com, b@example.com")
    with pytest.raises(ValidationError, match="nobody is no e-mail address"):
        check_mailboxes("a@example.com, nobody")
    with pytest.raises(ValidationError, match="Nothing is no e-mail address"):
        check_mailboxes("a@example.com,")
    with pytest.raises(ValidationError):
        check_mailboxes("a@example.com\nBcc: b@example.com")
