from __future__ import annotations

import pytest

from codexproxy.locality import parse_address
from proxy.firewall import InvalidEntry, entry_text, parse_entry, shuts_out


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("198.51.100.10", "198.51.100.10"),
        (" 198.51.100.10 ", "198.51.100.10"),
        ("198.51.100.10/32", "198.51.100.10"),
        ("192.168.1.0/24", "192.168.1.0/24"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::ffff:198.51.100.10", "198.51.100.10"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
    ],
)
def test_an_entry_is_stored_in_one_form(given: str, stored: str) -> None:
    assert entry_text(parse_entry(given)) == stored


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "neither an IP address nor a network"),
        ("garbage", "neither an IP address nor a network"),
        ("198.51.100.10:80", "neither"),
        ("300.1.1.1", "neither"),
        ("10.0.0.5/8", "Did you mean the network 10.0.0.0/8"),
        ("0.0.0.0/0", "everybody"),
        ("::/0", "everybody"),
        ("::ffff:0:0/96", "everybody"),
    ],
)
def test_what_cannot_be_meant_is_explained(given: str, reason: str) -> None:
    with pytest.raises(InvalidEntry, match=reason):
        parse_entry(given)


def test_whom_a_list_shuts_out() -> None:
    here = parse_address("192.168.1.7")
    assert not shuts_out(here, [])
    assert not shuts_out(here, [parse_entry("192.168.1.0/24")])
    assert shuts_out(here, [parse_entry("10.0.0.0/8")])
    assert shuts_out(None, [parse_entry("10.0.0.0/8")])
