"""What is known of each account's limits: the newest sample of every window, and the history."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from accounts.models import Account


class WindowKey(models.TextChoices):
    """primary = 5-hour, secondary = weekly; monthly where a plan has only that."""

    PRIMARY = "primary", "5 hours"
    SECONDARY = "secondary", "week"
    MONTHLY = "monthly", "month"


class WindowSample(models.Model):
    """One reading of one window of one account. Both windows of a reading share `recorded_at`."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="window_samples")
    window = models.CharField(max_length=20, choices=WindowKey.choices)
    used_percent = models.FloatField()
    reset_at = models.DateTimeField(null=True, blank=True)
    window_minutes = models.PositiveIntegerField(null=True, blank=True)
    recorded_at = models.DateTimeField(default=timezone.now)
    source = models.CharField(max_length=20, default="usage")

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

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "window"], name="one_current_window")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.window} {self.used_percent:.0f} % used"
