"""The person's part of a sign-in, against the simulated sign-in service."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

from accounts import sign_in
from accounts.models import SignInFlow
from accounts.sign_in_protocol import read_pasted
from accounts.sign_in_scope import Scope
from proxy.simulator import Simulator

HERE = Scope("the secret of this browser")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def redirect_after(authorization_url: str, account_id: str) -> str:
    """Where the sign-in page sends the browser of somebody who continues as that account."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    try:
        answer = opener.open(f"{authorization_url}&account={account_id}", timeout=5)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        assert answer.status == 302, answer.read()
        return str(answer.headers["Location"])


def signed_in(flow: SignInFlow, account_id: str) -> SignInFlow:
    """A browser flow, gone through."""
    return sign_in.receive(read_pasted(redirect_after(flow.authorization_url, account_id)))


def exchanges(sim: Simulator) -> int:
    """How often a code was spent, or tried."""
    return sum(
        call.path == "/oauth/token" and b"authorization_code" in call.body
        for call in sim.journal
        if isinstance(call.body, bytes)
    )
