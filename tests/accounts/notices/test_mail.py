"""A conversation with a real mail server on this machine."""

from __future__ import annotations

import asyncio
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from accounts.notices.mail import mail
from accounts.notices.messages import DeliveryFailed, Message
from tests.accounts.notices.receivers import RECIPIENT, SENDER, MailReceiver
from tests.builders import NOW

MESSAGE = Message("id-1", "pool_low", NOW, "The pool is low: 4 % left", "4 % is left – of ünits.")


def send(mailbox: MailReceiver, timeout_s: float = 10.0, message: Message = MESSAGE, **fields: Any) -> None:
    asyncio.run(mail(mailbox.server(**fields), message, timeout_s=timeout_s))


def test_it_works(mailbox: MailReceiver) -> None:
    send(mailbox)
    assert mailbox.envelopes == [(SENDER, [RECIPIENT])]
    (letter,) = mailbox.letters
    assert letter["subject"] == "[codexproxy] The pool is low: 4 % left"
    assert (letter["from"], letter["to"]) == (SENDER, RECIPIENT)
    assert letter["message-id"] == "<id-1@example.com>"
    assert letter.get_content().startswith("4 % is left – of ünits.")
    assert mailbox.sign_ins == []


def test_it_signs_in_and_writes_to_several(mailbox: MailReceiver) -> None:
    send(mailbox, username="proxy", password="s3cret", recipients=("a@example.com", "b@example.com"))
    assert mailbox.sign_ins == [("proxy", "s3cret")]
    assert mailbox.envelopes == [(SENDER, ["a@example.com", "b@example.com"])]


def test_a_line_end_in_a_title_begins_no_header(mailbox: MailReceiver) -> None:
    title = "a\r\nBcc: all@example.com"
    send(mailbox, message=Message("i", "k", NOW, title, "text"))
    (letter,) = mailbox.letters
    assert letter["subject"] == "[codexproxy] a Bcc: all@example.com"
    assert letter["bcc"] is None


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        ({"AUTH": "535 no: s3cret"}, r"refused the user name or the password \(535\)"),
        ({"MAIL": "451 later"}, "The server answered: 451 later"),
        ({"RCPT": "550 who?"}, "refused every recipient: ops@example.com: 550 who?"),
        ({"DATA": "554 spam"}, "The server answered: 554 spam"),
        ({"220": "554 go away"}, "The server answered: 554 go away"),
    ],
)
def test_a_refusal_is_told_without_a_secret(mailbox: MailReceiver, replies: Any, words: str) -> None:
    mailbox.replies = replies
    with pytest.raises(DeliveryFailed, match=words) as failure:
        send(mailbox, username="proxy", password="s3cret")
    assert "s3cret" not in str(failure.value)


def test_a_server_that_cannot_be_reached_is_told_so() -> None:
    with pytest.raises(DeliveryFailed, match="The server cannot be used: .*refused"):
        send(MailReceiver(port=9))


@pytest.mark.parametrize("command", ["220", "EHLO", "DATA"])
def test_a_server_that_is_silent_is_given_up(mailbox: MailReceiver, command: str) -> None:
    mailbox.replies = {command: None}
    begun = time.monotonic()
    with pytest.raises(DeliveryFailed, match="silent for too long|not done within"):
        send(mailbox, timeout_s=0.3)
    assert time.monotonic() - begun < 5


def test_a_password_that_e_mail_cannot_carry_is_a_failure_and_no_crash(mailbox: MailReceiver) -> None:
    with pytest.raises(DeliveryFailed, match="characters"):
        send(mailbox, username="proxy", password="pässword")


# --- encryption ---------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path, mailbox: MailReceiver) -> Path:
    """Of the mailbox, made by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file, key_file = tmp_path / "certificate.pem", tmp_path / "key.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem, form, plain = (
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    key_file.write_bytes(key.private_bytes(pem, form, plain))
    mailbox.certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    mailbox.certificate.load_cert_chain(file, key_file)
    return file


def test_the_conversation_is_encrypted(
    mailbox: MailReceiver, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    send(mailbox, security="starttls", host="localhost", username="proxy", password="s3cret")
    assert mailbox.sign_ins == [("proxy", "s3cret")]
    assert len(mailbox.letters) == 1


def test_a_certificate_that_nobody_vouches_for_gets_no_password(
    mailbox: MailReceiver, certificate: Path
) -> None:
    with pytest.raises(DeliveryFailed, match="certificate verify failed"):
        send(mailbox, security="starttls", host="localhost", username="proxy", password="s3cret")
    assert (mailbox.sign_ins, mailbox.letters) == ([], [])


def test_a_server_without_encryption_gets_no_password(mailbox: MailReceiver) -> None:
    with pytest.raises(DeliveryFailed, match="STARTTLS"):
        send(mailbox, security="starttls", username="proxy", password="s3cret")
    assert (mailbox.sign_ins, mailbox.letters) == ([], [])
