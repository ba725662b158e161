from __future__ import annotations

import io
import ipaddress
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from cryptography.fernet import Fernet
from django.http import HttpResponse
from django.test import Client

from accounts.models import AuditEvent
from accounts.operators import viewers
from codexproxy.backup_file import BackupFile
from tests.accounts.operators.totp import PASSWORD, code, wrong_code
from tests.builders import make_account
from tests.codexproxy.browsing import auth, browser, far_browser, lock_with_password, lock_with_totp

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/admin/backup/"
PASSPHRASE = "correct horse battery"


def ask(client: Client, **fields: str) -> Any:
    return client.post(URL, {"new": PASSPHRASE, "again": PASSPHRASE, **fields})


def content(response: Any) -> bytes:
    async def read() -> bytes:
        return b"".join([part async for part in response.streaming_content])

    try:
        return async_to_sync(read)()
    finally:
        response.close()


def tables(response: Any) -> list[str]:
    file = BackupFile(io.BytesIO(content(response)), PASSPHRASE)
    return [table.table for table, rows in file.tables() if list(rows)]


def made() -> int:
    return AuditEvent.objects.filter(action="install_backed_up").count()


def test_the_page_says_how_a_backup_is_restored() -> None:
    page = browser().get(URL).content.decode()
    assert "manage.py restore FILE --replace" in page and "Stop the server first" in page


def test_the_file_is_downloaded_and_kept_by_nobody_on_the_way() -> None:
    make_account()
    response = ask(browser(), with_requests="on")
    assert response.status_code == 200
    assert "no-store" in response.headers["Cache-Control"]
    assert response.headers["Content-Disposition"].startswith('attachment; filename="codexproxy-')
    size = int(response.headers["Content-Length"])
    file = content(response)
    assert len(file) == size
    BackupFile(io.BytesIO(file), PASSPHRASE)
    assert AuditEvent.objects.get(action="install_backed_up").actor == "operator"


def test_the_page_says_when_the_last_one_was_made() -> None:
    assert "No backup has been made yet" in browser().get(URL).content.decode()
    ask(browser()).close()
    assert "The last backup was made on" in browser().get(URL).content.decode()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"new": "short", "again": "short"}, "at least 12 characters"),
        ({"again": "something else here"}, "not the same as above"),
        ({"new": "", "again": ""}, "This field is required"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_made(fields: dict[str, str], told: str) -> None:
    assert told in ask(browser(), **fields).content.decode()
    assert made() == 0


def test_a_secret_that_cannot_be_opened_is_told(settings: Any) -> None:
    make_account()
    settings.ENCRYPTION_KEYS = Fernet.generate_key().decode()
    assert "cannot be decrypted" in ask(browser()).content.decode()
    assert made() == 0


def test_a_named_network_does_not_get_it_while_no_lock_is_on(settings: Any) -> None:
    settings.DASHBOARD_NETWORKS = (ipaddress.ip_network("192.168.1.0/24"),)
    for response in (far_browser().get(URL), ask(far_browser())):
        assert response.status_code == 403
        assert "own machine only" in response.content.decode()
    assert made() == 0


def signed_in(client: Client) -> Client:
    assert auth(client, "password/login", {"password": PASSWORD}).status_code == 200
    return client


def test_whoever_has_not_signed_in_is_led_to_the_sign_in() -> None:
    lock_with_password()
    response: HttpResponse = ask(browser())
    assert response.status_code == 302
    assert made() == 0


def test_the_password_is_asked_for_again() -> None:
    lock_with_password()
    client = signed_in(far_browser())
    assert "This field is required" in ask(client).content.decode()
    assert "The password is wrong" in ask(client, password="not it").content.decode()
    assert made() == 0
    response = ask(client, password=PASSWORD)
    assert "accounts.auditevent" in tables(response)


def test_the_code_is_asked_for_again() -> None:
    lock_with_totp()
    client = browser()
    assert auth(client, "totp/verify", {"code": code(1)}).status_code == 200
    assert "The code is wrong" in ask(client, code=wrong_code()).content.decode()
    assert made() == 0
    ask(client, code=code()).close()
    assert made() == 1


def test_wrong_passwords_are_counted() -> None:
    lock_with_password()
    client = signed_in(browser())
    statuses = [ask(client, password="not it").status_code for _ in range(9)]
    assert statuses == [200] * 8 + [429]


def test_the_viewer_gets_none() -> None:
    lock_with_password()
    viewers.viewer_set(password="what the viewer knows")
    client = browser()
    assert auth(client, "password/login", {"password": "what the viewer knows"}).status_code == 200
    assert ask(client, password="what the viewer knows").status_code == 403
    assert made() == 0
