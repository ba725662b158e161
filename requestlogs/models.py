"""One row per client request, with its attempts; and their sums by the hour, which stay."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class RequestRecord(models.Model):
    """What happened to one request. Accounts and keys are plain columns: a row outlives them."""

    class Status(models.TextChoices):
        SUCCESS = "success"
        ERROR = "error"
        CANCELLED = "cancelled"

    request_id = models.CharField(max_length=120)
    requested_at = models.DateTimeField(default=timezone.now)
    account_id = models.CharField(max_length=200, blank=True)
    api_key_id = models.BigIntegerField(null=True, blank=True)
    client = models.CharField("client", max_length=200, blank=True, help_text="The client's own user agent.")
    client_address = models.CharField(max_length=64, blank=True)
    path = models.CharField(max_length=200, blank=True)
    transport = models.CharField(max_length=12, default="http")
    conversation = models.CharField(max_length=200, blank=True)

    model = models.CharField(max_length=120, blank=True)
    reasoning_effort = models.CharField("effort", max_length=20, null=True, blank=True)
    service_tier = models.CharField(max_length=20, blank=True)

    status = models.CharField(max_length=12, choices=Status.choices)
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    error_code = models.CharField(max_length=80, null=True, blank=True)
    error_message = models.TextField(blank=True)

    input_tokens = models.BigIntegerField(null=True, blank=True)
    cached_input_tokens = models.BigIntegerField("cached", null=True, blank=True)
    output_tokens = models.BigIntegerField(null=True, blank=True)
    reasoning_tokens = models.BigIntegerField(null=True, blank=True)
    cost_usd = models.DecimalField("cost", max_digits=14, decimal_places=6, null=True, blank=True)

    latency_ms = models.PositiveIntegerField(null=True, blank=True)
    first_token_ms = models.PositiveIntegerField("first token", null=True, blank=True)
    # {"queue", "choose", "connect", "upstream", "own"}: milliseconds, as `records.Split` says.
    split = models.JSONField(default=dict, blank=True)
    # [{"account_id", "outcome", "status", "code", "started_ms", "ended_ms", "first_event_ms"}]
    attempts = models.JSONField(default=list, blank=True)
    # {"why": str, "passed_over": [{"account_id", "reason", "until"}]}
    routing = models.JSONField(default=dict, blank=True)

    class Meta:
        verbose_name = "request"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["-requested_at"], name="record_newest"),
            models.Index(fields=["account_id", "-requested_at"], name="record_account_newest"),
            models.Index(fields=["status", "-id"], name="record_status_newest"),
            # A key's own usage, and what a new limit starts from; rows of nobody's key are not in it.
            models.Index(
                fields=["api_key_id", "-requested_at"],
                name="record_key_newest",
                condition=models.Q(api_key_id__isnull=False),
            ),
            models.Index(
                fields=["conversation", "id"],
                name="record_conversation",
                condition=~models.Q(conversation=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.request_id} {self.model} {self.status}"


class UsageHour(models.Model):
    """What the requests of one hour came to, for each account, model and key.

    "" and 0 stand for no account, no model and no key, so that they can be told apart by the database. The
    model is that of a request that an account has answered: clients may ask for any.
    """

    hour = models.DateTimeField()
    account_id = models.CharField(max_length=200, blank=True)
    model = models.CharField(max_length=120, blank=True)
    api_key_id = models.BigIntegerField(default=0)

    requests = models.PositiveIntegerField(default=0)
    errors = models.PositiveIntegerField(default=0)
    cancelled = models.PositiveIntegerField(default=0)
    # Answered requests whose model has no known price.
    unpriced = models.PositiveIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    cached_input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=20, decimal_places=6, default=0)
    # Sums, and of how many requests they are known.
    latency_ms = models.BigIntegerField(default=0)
    latencies = models.PositiveIntegerField(default=0)
    first_token_ms = models.BigIntegerField(default=0)
    first_tokens = models.PositiveIntegerField(default=0)
    # How many of them took so many milliseconds at most, and more than the column before: first_tokens.py.
    first_tokens_250 = models.PositiveIntegerField(default=0)
    first_tokens_500 = models.PositiveIntegerField(default=0)
    first_tokens_1000 = models.PositiveIntegerField(default=0)
    first_tokens_2000 = models.PositiveIntegerField(default=0)
    first_tokens_4000 = models.PositiveIntegerField(default=0)
    first_tokens_8000 = models.PositiveIntegerField(default=0)
    first_tokens_16000 = models.PositiveIntegerField(default=0)
    first_tokens_32000 = models.PositiveIntegerField(default=0)
    first_tokens_beyond = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["hour", "account_id", "model", "api_key_id"], name="one_sum_of_an_hour"
            )
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H} {self.account_id} {self.model}: {self.requests} requests"


class ErrorHour(models.Model):
    """How many requests of one hour failed with one code; "" is an error without a code."""

    hour = models.DateTimeField()
    error_code = models.CharField(max_length=80, blank=True)
    requests = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["hour", "error_code"], name="one_error_sum_of_an_hour")
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H} {self.error_code}: {self.requests}"
