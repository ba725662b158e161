"""The operator's settings, which account each conversation is kept on, and who may use the pool."""

from __future__ import annotations

import uuid
from datetime import datetime
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
    key_auth_required = models.BooleanField(
        "everyone needs an API key",
        default=False,
        help_text="While this is off, programs on this machine and at the firewall's addresses need none.",
    )
    public_base_url = models.CharField(
        "public address",
        blank=True,
        max_length=200,
        validators=[URLValidator(schemes=["http", "https"])],
        help_text="Under which clients reach this server, for example https://codex.example.com. "
        "Empty: the address that the dashboard was opened under.",
    )
    # Not a choice of the form: set when a client has been answered, or by who wants to see no more of it.
    first_steps_done = models.BooleanField(default=False, editable=False)
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

    class Meta:
        verbose_name = "conversation"

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


class ApiKey(models.Model):
    """A client's right to use the pool. The key itself is shown once and kept as a hash only."""

    class Effort(models.TextChoices):
        NONE = "none"
        MINIMAL = "minimal"
        LOW = "low"
        MEDIUM = "medium"
        HIGH = "high"
        XHIGH = "xhigh"
        MAX = "max"
        ULTRA = "ultra"

    class Tier(models.TextChoices):
        AUTO = "auto"
        DEFAULT = "default"
        PRIORITY = "priority"
        FLEX = "flex"
        ULTRAFAST = "ultrafast"

    name = models.CharField(max_length=128)
    note = models.TextField(blank=True)
    prefix = models.CharField(max_length=20, editable=False)
    key_hash = models.CharField(max_length=64, unique=True, editable=False)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: it does not expire.")

    allowed_models = models.JSONField(default=list, blank=True, help_text="Empty: every model.")
    enforced_model = models.CharField(
        max_length=120, blank=True, help_text="Whatever a request names, this model is asked."
    )
    enforced_effort = models.CharField(
        "enforced reasoning effort", max_length=20, choices=Effort.choices, blank=True
    )
    allowed_efforts = models.JSONField(
        "allowed reasoning efforts", default=list, blank=True, help_text="Empty: every effort."
    )
    enforced_tier = models.CharField("enforced service tier", max_length=20, choices=Tier.choices, blank=True)
    max_parallel = models.PositiveIntegerField(
        "requests at once",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="In each server process. Empty: as many as the server takes.",
    )

    # SECURITY: ids and not references, and a flag of its own: when the last of its accounts is deleted, a
    # bound key has none left to use, and never all of them.
    is_bound = models.BooleanField("only certain accounts", default=False)
    account_ids = models.JSONField("accounts", default=list, blank=True)
    group_ids = models.JSONField("account groups", default=list, blank=True)

    class Meta:
        verbose_name = "API key"
        ordering = ["name", "id"]

    def __str__(self) -> str:
        return self.name

    def has_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


class ApiKeyLimit(models.Model):
    """How much a key may use within a window. Changed by compare-and-set only: processes share it."""

    class Kind(models.TextChoices):
        REQUESTS = "requests"
        TOTAL_TOKENS = "total_tokens", "tokens"
        INPUT_TOKENS = "input_tokens", "input tokens"
        OUTPUT_TOKENS = "output_tokens", "output tokens"
        COST = "cost_usd", "cost"

    class Window(models.TextChoices):
        FIVE_HOURS = "5h", "5 hours"
        DAILY = "daily", "day"
        WEEKLY = "weekly", "week"
        MONTHLY = "monthly", "month (30 days)"

    key = models.ForeignKey(ApiKey, models.CASCADE, related_name="limits")
    kind = models.CharField("what", max_length=20, choices=Kind.choices)
    window = models.CharField("in each", max_length=10, choices=Window.choices)
    model = models.CharField(
        "only for the model", max_length=120, blank=True, help_text="Empty: all models together."
    )
    # Costs are millionths of a dollar.
    max_value = models.BigIntegerField("at most", validators=[MinValueValidator(1)])
    used = models.BigIntegerField(default=0, editable=False)
    # What requests in flight may still use up.
    reserved = models.BigIntegerField(default=0, editable=False)
    reset_at = models.DateTimeField(editable=False)

    class Meta:
        verbose_name = "limit"
        constraints = [
            models.UniqueConstraint(fields=["key", "kind", "window", "model"], name="one_limit_of_a_kind"),
            models.CheckConstraint(condition=models.Q(max_value__gte=1), name="limit_leaves_something"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} in each {self.get_window_display()}"


class Reservation(models.Model):
    """What one request holds of its key's limits. A process that dies stops prolonging it, and it ends."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    key = models.ForeignKey(ApiKey, models.CASCADE, related_name="reservations")
    holder = models.UUIDField(db_index=True)
    expires_at = models.DateTimeField(db_index=True)
    # limit's id, as text → amount
    amounts = models.JSONField(default=dict)

    def __str__(self) -> str:
        return str(self.id)


class FirewallEntry(models.Model):
    """An address or a network that may connect. Without any entry everybody may."""

    network = models.CharField("address or network", max_length=64, unique=True)
    note = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = "firewall entry"
        verbose_name_plural = "firewall"
        ordering = ["network"]

    def __str__(self) -> str:
        return self.network


class FirewallRefusal(models.Model):
    """Who was refused lately, one row for each address. Rows, since every process refuses for itself."""

    address = models.CharField(primary_key=True, max_length=64)
    count = models.PositiveBigIntegerField(default=0)
    path = models.CharField(max_length=200, blank=True)
    last_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.address
