"""Whom to tell what, what was told, and what is on its way."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from accounts.notices.addresses import check_host, check_mailbox, check_mailboxes, check_url
from accounts.notices.events import Kind
from codexproxy.crypto import EncryptedTextField

KIND_LABELS = {
    Kind.SIGN_IN_NEEDED: "account needs sign-in",
    Kind.POOL_LOW: "pool low",
    Kind.POOL_EXHAUSTED: "all exhausted",
    Kind.RESET: "reset happened",
    Kind.NEW_ADDRESS: "sign-in from a new address",
    Kind.TEST: "test",
}


class Channel(models.TextChoices):
    WEBHOOK = "webhook", "webhook"
    EMAIL = "email", "e-mail"


class NoticeSettings(models.Model):
    """One row. While no channel is on nothing is looked for, and nobody is contacted."""

    class Security(models.TextChoices):
        STARTTLS = "starttls", "STARTTLS"
        TLS = "tls", "TLS from the start"
        NONE = "none", "none: only to a server on this machine or network"

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    webhook_on = models.BooleanField("send to a webhook", default=False)
    # The address is a secret too: with most services whoever knows it may post.
    webhook_url = EncryptedTextField("address", blank=True, validators=[check_url])
    webhook_secret = EncryptedTextField("signing secret", blank=True)
    email_on = models.BooleanField("send by e-mail", default=False)
    smtp_host = models.CharField("mail server", max_length=253, blank=True, validators=[check_host])
    smtp_port = models.PositiveIntegerField(
        "port",
        default=587,
        validators=[MinValueValidator(1), MaxValueValidator(65_535)],
        help_text="587 with STARTTLS, 465 with TLS from the start.",
    )
    smtp_security = models.CharField(
        "encryption", max_length=10, choices=Security.choices, default=Security.STARTTLS
    )
    smtp_username = models.CharField("user name", max_length=254, blank=True, help_text="Empty: no sign-in.")
    smtp_password = EncryptedTextField("password", blank=True)
    email_from = models.CharField("from", max_length=254, blank=True, validators=[check_mailbox])
    email_to = models.CharField(
        "to",
        max_length=1000,
        blank=True,
        validators=[check_mailboxes],
        help_text="Several are separated by commas.",
    )
    pool_low_percent = models.PositiveSmallIntegerField(
        "the pool is low below (percent left)",
        default=20,
        validators=[MinValueValidator(1), MaxValueValidator(90)],
        help_text="Of the 5-hour or of the weekly window, over all accounts in use.",
    )
    tell_sign_in_needed = models.BooleanField("an account needs a new sign-in", default=True)
    tell_pool_low = models.BooleanField("the pool is low", default=True)
    tell_pool_exhausted = models.BooleanField("no account can serve", default=True)
    tell_reset = models.BooleanField(
        "a reset has happened",
        default=True,
        help_text="A limit of at least 15 minutes is over, or a week has begun anew.",
    )
    tell_new_address = models.BooleanField(
        "a sign-in to the dashboard from a new address",
        default=True,
        help_text="One that nobody has signed in from within a year.",
    )

    class Meta:
        verbose_name = verbose_name_plural = "notice settings"
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_notice_settings_row")]

    def __str__(self) -> str:
        return "Notices"

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.pk = 1
        super().save(*args, **kwargs)

    def clean(self) -> None:
        wrong = {}
        if self.webhook_on and not self.webhook_url:
            wrong["webhook_url"] = "Enter the address to send to."
        if self.email_on:
            needed = ("smtp_host", "email_from", "email_to")
            wrong |= {name: "Needed to send e-mail." for name in needed if not getattr(self, name)}
        if self.smtp_username and not self.smtp_password:
            wrong["smtp_password"] = "Enter the password of this user, or take the user name away."  # noqa: S105
        if self.smtp_password and not self.smtp_username:
            wrong["smtp_username"] = "Enter whose password this is."
        if wrong:
            raise ValidationError(wrong)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Those that are on."""
        on = {Channel.WEBHOOK: self.webhook_on, Channel.EMAIL: self.email_on}
        return tuple(channel for channel, is_on in on.items() if is_on)

    @property
    def webhook_host(self) -> str:
        """What of the address may be shown."""
        parts = urlsplit(self.webhook_url or "")
        return parts.netloc.rpartition("@")[2]

    @property
    def recipients(self) -> list[str]:
        return [part.strip() for part in self.email_to.split(",") if part.strip()]

    def target(self, channel: str) -> str:
        """Whom a channel tells, without secrets; empty where it is not set up."""
        return self.webhook_host if channel == Channel.WEBHOOK else ", ".join(self.recipients)

    def wants(self, kind: str) -> bool:
        wanted = {
            Kind.SIGN_IN_NEEDED: self.tell_sign_in_needed,
            Kind.POOL_LOW: self.tell_pool_low,
            Kind.POOL_EXHAUSTED: self.tell_pool_exhausted,
            Kind.RESET: self.tell_reset,
            Kind.NEW_ADDRESS: self.tell_new_address,
        }
        return wanted[Kind(kind)]


class Memory(models.Model):
    """One row: what was known at the last look. Only who replaces a version tells what has changed since."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    version = models.PositiveBigIntegerField(default=0)
    state = models.JSONField(default=dict)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_notice_memory")]

    def __str__(self) -> str:
        return str(self.version)


class Notice(models.Model):
    """Something that was told, or will be."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    at = models.DateTimeField(default=timezone.now, db_index=True)
    kind = models.CharField(
        max_length=40, choices=[(kind.value, label) for kind, label in KIND_LABELS.items()]
    )
    title = models.CharField(max_length=250)
    text = models.TextField()
    account_id = models.CharField(max_length=200, blank=True)
    account_name = models.CharField("account", max_length=254, blank=True)
    data = models.JSONField(default=dict)

    class Meta:
        verbose_name_plural = "notice log"

    def __str__(self) -> str:
        return self.title


class Delivery(models.Model):
    """One notice on one channel. A try is claimed by raising `attempts`, and only who did so makes it."""

    class Status(models.TextChoices):
        WAITING = "waiting", "waiting"
        SENT = "sent", "sent"
        FAILED = "failed", "given up"
        DROPPED = "dropped", "not sent: turned off"

    notice = models.ForeignKey(Notice, models.CASCADE, related_name="deliveries")
    channel = models.CharField(max_length=10, choices=Channel.choices)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.WAITING)
    target = models.CharField("to", max_length=1000, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["notice", "channel"], name="one_delivery_on_a_channel")
        ]
        indexes = [
            # services.deliveries_due, every few seconds.
            models.Index(fields=["next_at"], condition=models.Q(status="waiting"), name="delivery_waiting")
        ]

    def __str__(self) -> str:
        return f"{self.get_channel_display()}: {self.get_status_display()}"
