"""The accounts in the pool, their credentials, and what is shared between processes."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from codexproxy.crypto import EncryptedTextField


class Account(models.Model):
    """One ChatGPT sign-in: a person in a workspace."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        RATE_LIMITED = "rate_limited"
        QUOTA_EXCEEDED = "quota_exceeded"
        PAUSED = "paused"
        REAUTH_REQUIRED = "reauth_required", "sign-in needed"
        DEACTIVATED = "deactivated"

    class RoutingPolicy(models.TextChoices):
        BURN_FIRST = "burn_first", "burn first: before all others"
        NORMAL = "normal"
        PRESERVE = "preserve", "preserve: only when no other can serve"

    id = models.CharField(primary_key=True, max_length=200)
    chatgpt_account_id = models.CharField("ChatGPT account", max_length=120, blank=True)
    chatgpt_user_id = models.CharField("ChatGPT user", max_length=120, blank=True)
    workspace_id = models.CharField("workspace", max_length=120, blank=True)
    workspace_label = models.CharField("workspace name", max_length=200, blank=True)
    email = models.CharField("e-mail", max_length=254, db_index=True)
    alias = models.CharField(max_length=80, blank=True, help_text="Shown instead of the e-mail.")
    plan_type = models.CharField("plan", max_length=40, default="unknown")

    status = models.CharField(max_length=20, choices=Status.choices, default=Status.ACTIVE)
    status_reason = models.TextField("reason", blank=True)
    # One status, and yet two things may be so at once. A process of the former release may insert rows.
    returns_paused = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="It was paused when it lost its sign-in, and is paused again with the next one.",
    )
    blocked_at = models.DateTimeField(null=True, blank=True)
    reset_at = models.DateTimeField("blocked until", null=True, blank=True)
    block_window_reset_at = models.DateTimeField(
        null=True, blank=True, help_text="The window's reset that was known when the block began."
    )

    routing_policy = models.CharField(
        max_length=20,
        choices=RoutingPolicy.choices,
        default=RoutingPolicy.NORMAL,
        help_text="Whose turn it is for a conversation that has no account yet.",
    )
    stop_at_percent = models.PositiveSmallIntegerField(
        "stop at (percent of the week)",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="From there on it takes no new conversations; those that it has go on. Empty: no reserve.",
    )

    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.display_name

    @property
    def display_name(self) -> str:
        return self.alias or self.email

    @property
    def is_blocked_by_limit(self) -> bool:
        return self.status in (self.Status.RATE_LIMITED, self.Status.QUOTA_EXCEEDED)


class AccountGroup(models.Model):
    """Accounts under a name: to filter by, to act on together, and to bind API keys to."""

    name = models.CharField(max_length=80, unique=True)
    accounts = models.ManyToManyField(Account, related_name="groups", blank=True)

    class Meta:
        verbose_name = "account group"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Credential(models.Model):
    """The tokens of an account, encrypted. `generation` counts rotations and guards each change."""

    account = models.OneToOneField(Account, models.CASCADE, primary_key=True, related_name="credential")
    access_token = EncryptedTextField()
    refresh_token = EncryptedTextField()
    id_token = EncryptedTextField(blank=True)
    access_expires_at = models.DateTimeField(null=True, blank=True)
    refreshed_at = models.DateTimeField(default=timezone.now)
    rotated_at = models.DateTimeField(
        null=True, blank=True, help_text="The last refresh made here; empty since an import."
    )
    generation = models.PositiveIntegerField(default=1)
    source = models.CharField(max_length=40, default="import")

    def __str__(self) -> str:
        return f"credential of {self.account_id}"


class AccountEvent(models.Model):
    """Something that happened to an account: what, why and on what evidence."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="events")
    at = models.DateTimeField(default=timezone.now)
    kind = models.CharField(max_length=40)
    detail = models.TextField(blank=True)

    class Meta:
        indexes = [models.Index(fields=["account", "-at"], name="account_event_newest")]

    def __str__(self) -> str:
        return f"{self.kind} at {self.at:%Y-%m-%d %H:%M}"


class Lease(models.Model):
    """The right of one process to do one thing (a background job, a token refresh) for a while."""

    name = models.CharField(primary_key=True, max_length=240)
    holder = models.UUIDField(default=uuid.uuid4)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name

    def is_held(self, now: datetime) -> bool:
        return self.expires_at > now


class JobRun(models.Model):
    """The last run of a background job."""

    name = models.CharField(primary_key=True, max_length=80)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)

    def __str__(self) -> str:
        return self.name


class ConfigVersion(models.Model):
    """One row; its number grows with every change that the data plane must learn of."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    version = models.PositiveBigIntegerField(default=1)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_config_version")]

    def __str__(self) -> str:
        return str(self.version)


class EncryptionKeyFingerprint(models.Model):
    """One row: the key that the stored secrets were written with, by its fingerprint."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    fingerprint = models.CharField(max_length=32)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_key_fingerprint")]

    def __str__(self) -> str:
        return self.fingerprint


class AuditEvent(models.Model):
    """A security-relevant act: who, from where, what; never a secret."""

    at = models.DateTimeField(default=timezone.now, db_index=True)
    actor = models.CharField(max_length=150)
    address = models.CharField(max_length=64, blank=True)
    action = models.CharField(max_length=60)
    subject = models.CharField(max_length=250, blank=True)
    detail = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"{self.action} {self.subject}".strip()


class SignInFlow(models.Model):
    """One attempt to add or renew an account, begun in one browser: a sign-in, a device code or an import.

    Whoever changes `status` names the status it changes from, so that each step happens once.
    """

    class Kind(models.TextChoices):
        BROWSER = "browser", "browser sign-in"
        DEVICE = "device", "device code"
        IMPORT = "import", "import"

    class Status(models.TextChoices):
        PENDING = "pending"
        # Somebody spends the code, or stores the files, at this moment.
        FINISHING = "finishing"
        # Somebody else has signed in than the account to renew belongs to: the operator decides.
        UNCONFIRMED = "unconfirmed"
        SUCCESS = "success"
        ERROR = "error"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.PENDING)
    message = models.TextField(blank=True, help_text="Why it failed, or what has to be confirmed.")
    # SECURITY: digests, so that reading the table gives nobody a flow.
    scope = models.CharField(max_length=64, db_index=True, help_text="The browser, by its cookie.")
    fallback = models.CharField(
        max_length=64, blank=True, db_index=True, help_text="Until the cookie returns."
    )
    state_digest = models.CharField(max_length=64, null=True, unique=True)

    code_verifier = EncryptedTextField(blank=True)
    redirect_uri = models.CharField(max_length=200, blank=True)
    authorization_url = EncryptedTextField(blank=True)
    device_auth_id = EncryptedTextField(blank=True)
    user_code = EncryptedTextField(blank=True)
    interval_s = models.PositiveIntegerField(default=0)
    next_poll_at = models.DateTimeField(null=True)
    payload = EncryptedTextField(blank=True, help_text="Tokens that wait for the operator's word.")

    target_id = models.CharField(max_length=200, blank=True, help_text="The account to sign in again.")
    account_id = models.CharField(max_length=200, blank=True, help_text="The account that came of it.")
    created = models.BooleanField(default=False, help_text="Whether that account is new.")
    results = models.JSONField(default=list, help_text="What became of each imported file.")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["status", "kind"], name="sign_in_flow_open")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def is_open(self) -> bool:
        return self.status in (self.Status.PENDING, self.Status.FINISHING)
