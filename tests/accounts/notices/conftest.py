"""Receivers of notices for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.accounts.notices.receivers import MailReceiver, WebReceiver, mail_receiver, web_receiver


@pytest.fixture
def web() -> Iterator[WebReceiver]:
    with web_receiver() as received:
        yield received


@pytest.fixture
def mailbox() -> Iterator[MailReceiver]:
    with mail_receiver() as received:
        yield received
