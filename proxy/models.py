"""The operator's settings, and which account each conversation is kept on."""

from __future__ import annotations

from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator, URLValidator
from django.db import models
from django.utils import timezone


class Strategy(models.TextChoices):
    CAPACITY_WEIGHTED = "capacity_weighted", "Capacity weighted: chance by weekly credits left"
    USAGE_WEIGHTED = "usage_weighted", "Usage weighted: least used account first"
    ROUND_ROBIN = "round_robin", "Round robin: longest unused account first"


class Settings(models.Model):
    """One row. Every process learns of a change within two seconds."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    routing_strategy = models.CharField(
        max_length=30,
        choices=Strategy.choices,
        default=Strategy.CAPACITY_WEIGHTED,
        help_text="How an account is chosen for a conversation that has none yet.",
    )
    prefer_earlier_reset = models.BooleanField(
        default=False, help_text="Use accounts first whose weekly window resets soonest."
    )
    affinity_enabled = models.BooleanField(
        "keep conversations on their account",
        default=True,
        help_text="Keeps the prompt cache warm. A paused account is never used, whatever this says.",
    )
    conversation_affinity_days = models.PositiveIntegerField(
        "a named conversation is remembered (days)",
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(365)],
        help_text="Since its last request. A named one is one whose client gives it an id of its own.",
    )
    derived_affinity_minutes = models.PositiveIntegerField(
        "a conversation without a name is remembered (minutes)",
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(1440)],
        help_text="It is recognised by how it begins; upstream's prompt cache lasts about as long.",
    )
    upstream_silence_s = models.PositiveIntegerField(
        "upstream may be silent for (seconds)",
        default=600,
        validators=[MinValueValidator(30), MaxValueValidator(3600)],
        help_text="Long reasoning is silent. After that the request is given up, as broken.",
    )
    retention_days = models.PositiveIntegerField(
        "keep request rows for (days)",
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(3650)],
    )
    public_base_url = models.CharField(
        "public address",
        blank=True,
        max_length=200,
        validators=[URLValidator(schemes=["http", "https"])],
        help_text="Under which clients reach this server, for example https://codex.example.com. "
        "Empty: the address that the dashboard was opened under.",
    )
    require_password = models.BooleanField(
        default=False, help_text="The dashboard asks for the password. Set one first, on the security page."
    )
    require_totp = models.BooleanField(
        "require a one-time code",
        default=False,
        help_text="The dashboard asks for a code of the authenticator app. Set one up first, on the "
        "security page. While neither is required, the dashboard is open to this machine.",
    )
    session_hours = models.PositiveIntegerField(
        "a sign-in lasts (hours)",
        default=12,
        validators=[MinValueValidator(1), MaxValueValidator(8760)],
        help_text="After that the dashboard asks again. Holds for sign-ins from now on.",
    )

    class Meta:
        verbose_name = verbose_name_plural = "settings"
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_settings_row")]

    def __str__(self) -> str:
        return "Settings"

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.pk = 1
        super().save(*args, **kwargs)


class StickySession(models.Model):
    """conversation → account, written behind the in-process map."""

    key = models.CharField(primary_key=True, max_length=255)
    account_id = models.CharField(max_length=200, db_index=True)
    # Derived keys are forgotten sooner than a client's own conversation ids.
    derived = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"{self.key} on {self.account_id}"


class ModelCatalogue(models.Model):
    """Upstream's catalogue as it was last fetched, so that a fresh start can answer."""

    query = models.CharField(max_length=200)
    plan_type = models.CharField(max_length=64)
    body = models.TextField()
    etag = models.CharField(max_length=200, blank=True)
    fetched_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["query", "plan_type"], name="one_catalogue_for_each_plan")
        ]

    def __str__(self) -> str:
        return f"{self.plan_type} {self.query}"
