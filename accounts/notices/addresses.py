"""Where notices may go: web addresses, hosts and mailboxes that an operator types."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

URL_LENGTH = 2000
# A name of the own network may have no dot, and one of a container an underscore.
_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?\Z", re.I
)
_PRINTABLE = re.compile(r"[!-~]+\Z")


def check_url(value: str) -> None:
    """Raises ValidationError."""
    if len(value) > URL_LENGTH or not _PRINTABLE.match(value):
        raise ValidationError("This is no web address: it is too long, or has spaces or unusual characters.")
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValidationError("This is no web address.") from None
    if parts.scheme not in ("http", "https"):
        raise ValidationError("It must begin with https:// or http://.")
    if "@" in parts.netloc:
        raise ValidationError("No user name or password in the address, please.")
    if parts.fragment or value.endswith("#"):
        raise ValidationError("What stands behind # is never sent; take it away.")
    if port == 0 or not _is_host(host):
        raise ValidationError("It names no host.")


def check_host(value: str) -> None:
    """Raises ValidationError."""
    if not _is_host(value):
        raise ValidationError("This is neither the name nor the address of a server.")


def check_mailbox(value: str) -> None:
    """Raises ValidationError."""
    validate_email(value)


def check_mailboxes(value: str) -> None:
    """Raises ValidationError."""
    for part in value.split(","):
        try:
            validate_email(part.strip())
        except ValidationError:
            raise ValidationError(f"{part.strip() or 'Nothing'} is no e-mail address.") from None


def _is_host(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return bool(_NAME.match(value))
    return True
