"""What proves who the operator is, and how often somebody has tried to."""

from __future__ import annotations

import time

from django.db import models
from django.utils import timezone
from django_otp.models import Device
from django_otp.plugins.otp_static.models import StaticDevice

from accounts.operators import codes
from codexproxy.crypto import EncryptedTextField


class TotpDevice(Device):  # type: ignore[misc]
    """An authenticator app. django-otp's own device would keep the secret in plain."""

    secret = EncryptedTextField()
    last_step = models.BigIntegerField(default=-1, help_text="Codes up to this step are spent.")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user"], name="one_totp_device")]

    def verify_token(self, token: str) -> bool:
        """Accept each code once, whichever process is asked."""
        step = codes.matching_step(self.secret, token, now_s=time.time(), after=self.last_step)
        if step is None:
            return False
        unspent = TotpDevice.objects.filter(pk=self.pk, last_step__lt=step)
        return bool(unspent.update(last_step=step))

    def matches(self, token: str) -> bool:
        """Whether the code counts now, spent or not."""
        return codes.matching_step(self.secret, token, now_s=time.time()) is not None


class RecoveryDevice(StaticDevice):  # type: ignore[misc]
    """Ten codes for the day the authenticator is lost. `StaticToken.token` holds digests."""

    class Meta:
        proxy = True

    def verify_token(self, token: str) -> bool:
        """Accept each code once: of two that come at the same time, one deletes the row."""
        digest = codes.recovery_digest(token)
        if digest is None:
            return False
        deleted, _ = self.token_set.filter(token=digest).delete()
        return bool(deleted)


class Try(models.Model):
    """A wrong password or code, and one that is being looked at."""

    kind = models.CharField(max_length=20)
    network = models.CharField(max_length=64)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "tries"
        indexes = [
            # throttle.admit
            models.Index(fields=["kind", "network", "at"], name="try_of_network"),
            # throttle.forget
            models.Index(fields=["at"], name="try_oldest"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} from {self.network}"
