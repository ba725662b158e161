"""What is known of each account's limits, newest and history, and the prices that the operator has set."""

from __future__ import annotations

from datetime import datetime

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from accounts.models import Account


class WindowKey(models.TextChoices):
    """primary = 5-hour, secondary = weekly; monthly where a plan has only that."""

    PRIMARY = "primary", "5 hours"
    SECONDARY = "secondary", "week"
    MONTHLY = "monthly", "month"


class Source(models.TextChoices):
    """Where a reading comes from."""

    USAGE = "usage", "usage endpoint"
    HEADERS = "headers", "answer's headers"
    EVENT = "event", "answer's stream"
    REFUSAL = "refusal", "refused request"


class WindowSample(models.Model):
    """One reading of one window of one account. Both windows of a reading share `recorded_at`."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="window_samples")
    window = models.CharField(max_length=20, choices=WindowKey.choices)
    used_percent = models.FloatField()
    reset_at = models.DateTimeField(null=True, blank=True)
    window_minutes = models.PositiveIntegerField(null=True, blank=True)
    recorded_at = models.DateTimeField(default=timezone.now)
    source = models.CharField(max_length=20, choices=Source.choices, default=Source.USAGE)

    class Meta:
        # The newest sample of each window is asked for at every snapshot.
        indexes = [models.Index(fields=["account", "window", "-recorded_at"], name="window_sample_newest")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.window} {self.used_percent:.0f} % used"


class CurrentWindow(models.Model):
    """The newest sample of one window of one account."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="windows")
    window = models.CharField(max_length=20, choices=WindowKey.choices)
    used_percent = models.FloatField()
    reset_at = models.DateTimeField(null=True, blank=True)
    window_minutes = models.PositiveIntegerField(null=True, blank=True)
    recorded_at = models.DateTimeField()
    source = models.CharField(max_length=20, choices=Source.choices, default=Source.USAGE)
    # When each source told it last.
    usage_at = models.DateTimeField(null=True, blank=True)
    headers_at = models.DateTimeField(null=True, blank=True)
    event_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "window"], name="one_current_window")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.window} {self.used_percent:.0f} % used"

    @property
    def told_at(self) -> dict[str, datetime | None]:
        """Each of the three sources, by its name, and when it told this window last."""
        return {
            Source.USAGE.label: self.usage_at,
            Source.HEADERS.label: self.headers_at,
            Source.EVENT.label: self.event_at,
        }


class ModelLimitWindow(models.Model):
    """The newest sample of one window of a limit that an account has for one model."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="model_limits")
    limit_id = models.CharField(max_length=80)
    name = models.CharField("model", max_length=120, blank=True)
    window = models.CharField(max_length=20, choices=WindowKey.choices)
    used_percent = models.FloatField()
    reset_at = models.DateTimeField(null=True, blank=True)
    window_minutes = models.PositiveIntegerField(null=True, blank=True)
    recorded_at = models.DateTimeField()
    source = models.CharField(max_length=20, choices=Source.choices, default=Source.USAGE)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "limit_id", "window"], name="one_model_limit_window")
        ]

    def __str__(self) -> str:
        return f"{self.account_id} {self.limit_id} {self.window} {self.used_percent:.0f} % used"


class AccountCredits(models.Model):
    """What upstream said last of the credits that an account has beside its windows."""

    account = models.OneToOneField(Account, models.CASCADE, primary_key=True, related_name="credits")
    has_credits = models.BooleanField()
    unlimited = models.BooleanField()
    balance = models.FloatField(null=True, blank=True)
    recorded_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"credits of {self.account_id}"


_NOT_NEGATIVE = MinValueValidator(0, "A price is not negative.")


class PriceOverride(models.Model):
    """The operator's price of a model in one tier, not the published one: dollars for a million tokens."""

    class Tier(models.TextChoices):
        STANDARD = "standard"
        PRIORITY = "priority"
        FLEX = "flex"
        LONG = "long", "long context"

    model = models.CharField(
        max_length=120,
        validators=[RegexValidator(r"^[\w.:/-]+\Z", "A model's name has no spaces.")],
        help_text="Its name, or the beginning of the names that it is for.",
    )
    tier = models.CharField(max_length=12, choices=Tier.choices, default=Tier.STANDARD)
    input = models.DecimalField(max_digits=12, decimal_places=6, validators=[_NOT_NEGATIVE])
    cached = models.DecimalField(
        "cached input",
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[_NOT_NEGATIVE],
        help_text="Empty: as input.",
    )
    output = models.DecimalField(max_digits=12, decimal_places=6, validators=[_NOT_NEGATIVE])
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "price"
        constraints = [
            models.UniqueConstraint(fields=["model", "tier"], name="one_price_override"),
            models.CheckConstraint(
                condition=models.Q(input__gte=0, output__gte=0)
                & (models.Q(cached__isnull=True) | models.Q(cached__gte=0)),
                name="price_override_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model}, {self.get_tier_display()}"
