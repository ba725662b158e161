"""Tells a notice by e-mail, over SMTP with Django's mail framework."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field

from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend

from accounts.notices.messages import DeliveryFailed, Message, letter, subject

# For each step of the conversation with the server, and for all of them.
STEP_TIMEOUT_S = 10.0
TIMEOUT_S = 30.0
_REPLY_LENGTH = 200


@dataclass(frozen=True, slots=True)
class MailServer:
    """`security`: starttls, tls or none."""

    host: str
    port: int
    security: str
    username: str
    password: str = field(repr=False)
    sender: str
    recipients: tuple[str, ...]


async def mail(server: MailServer, message: Message, *, timeout_s: float = TIMEOUT_S) -> None:
    """Raises DeliveryFailed."""
    done: Future[None] = Future()
    # A thread that nobody waits for at the end of the process: a server that never ends its answer must
    # not hold up a stop.
    threading.Thread(target=_run, args=(done, server, message, timeout_s), name="mail", daemon=True).start()
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.wrap_future(done)
    except TimeoutError:
        raise DeliveryFailed(f"The mail server was not done within {timeout_s:g} s.") from None


def _run(done: Future[None], server: MailServer, message: Message, timeout_s: float) -> None:
    if not done.set_running_or_notify_cancel():
        return
    try:
        send(server, message, step_timeout_s=min(STEP_TIMEOUT_S, timeout_s))
    except DeliveryFailed as failure:
        done.set_exception(failure)
    else:
        done.set_result(None)


def send(server: MailServer, message: Message, *, step_timeout_s: float = STEP_TIMEOUT_S) -> None:
    """Raises DeliveryFailed."""
    backend = EmailBackend(
        host=server.host,
        port=server.port,
        username=server.username,
        password=server.password,
        use_tls=server.security == "starttls",
        use_ssl=server.security == "tls",
        timeout=step_timeout_s,
    )
    domain = server.sender.rpartition("@")[2]
    post = EmailMessage(
        subject=subject(message),
        body=letter(message),
        from_email=server.sender,
        to=list(server.recipients),
        connection=backend,
        # The same at each try, so that a mail that arrives twice can be seen to be one.
        headers={"Message-ID": f"<{message.id}@{domain}>", "Auto-Submitted": "auto-generated"},
    )
    try:
        post.send()
    # Whatever smtplib and ssl raise is an OSError; a name or an address that cannot be written, a ValueError.
    except (OSError, ValueError) as failure:
        raise DeliveryFailed(_words(failure)) from None
    finally:
        # Django keeps a connection that has failed before it could be used.
        with contextlib.suppress(OSError):
            backend.close()


def _words(failure: Exception) -> str:
    """SECURITY: without anything that was sent."""
    if isinstance(failure, smtplib.SMTPAuthenticationError):
        return f"The server refused the user name or the password ({failure.smtp_code})."
    if isinstance(failure, smtplib.SMTPRecipientsRefused):
        replies = "; ".join(f"{to}: {_reply(*reply)}" for to, reply in failure.recipients.items())
        return f"The server refused every recipient: {replies}"
    if isinstance(failure, smtplib.SMTPResponseException):
        return f"The server answered: {_reply(failure.smtp_code, failure.smtp_error)}"
    if isinstance(failure, TimeoutError | smtplib.SMTPServerDisconnected):
        return "The server was silent for too long, or has ended the conversation."
    if isinstance(failure, OSError):
        return f"The server cannot be used: {str(failure)[:_REPLY_LENGTH] or type(failure).__name__}"
    return "The user name, the password or an address has characters that e-mail cannot carry."


def _reply(code: int, text: bytes | str) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {' '.join(words.split())}"[:_REPLY_LENGTH]
