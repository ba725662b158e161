"""The warning of a dashboard that is open and can be reached from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from accounts.operators import services
from codexproxy import exposure
from codexproxy.checks import check_open_dashboard
from tests.accounts.operators.totp import PASSWORD, code
from tests.codexproxy.browsing import browser, lock_with_totp, require

pytestmark = pytest.mark.django_db

WARNING = "asks nobody to sign in, and the server listens beyond this machine"


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    exposure._hosts.clear()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.5", False),
        ("codex.example.com", False),
    ],
)
def test_which_addresses_stay_on_this_machine(host: str, expected: bool) -> None:
    assert exposure.is_loopback(host) is expected


@pytest.mark.parametrize("path", ["/admin/", "/admin/security/", "/admin/accounts/account/"])
def test_every_page_warns_while_the_dashboard_is_open_beyond_loopback(path: str) -> None:
    assert WARNING not in browser().get(path).content.decode()
    exposure.listening_on("0.0.0.0")
    assert WARNING in browser().get(path).content.decode()


def test_a_lock_ends_the_warning() -> None:
    exposure.listening_on("0.0.0.0")
    assert [message.id for message in check_open_dashboard(None)] == ["codexproxy.W002"]
    lock_with_totp()
    client = browser()
    client.post("/admin/login/", {"code": code()})
    assert WARNING not in client.get("/admin/").content.decode()
    assert check_open_dashboard(None) == []


def test_a_password_that_is_not_required_does_not_end_it() -> None:
    exposure.listening_on("0.0.0.0")
    services.password_set(password=PASSWORD)
    require(require_password=False)
    assert WARNING in browser().get("/admin/").content.decode()


def test_under_another_server_the_address_of_the_request_tells() -> None:
    assert WARNING not in browser().get("/admin/", SERVER_NAME="127.0.0.1").content.decode()
    assert WARNING in browser().get("/admin/", SERVER_NAME="192.168.1.5").content.decode()
