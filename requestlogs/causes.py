"""Pure: what the codes of failed requests mean, and what an operator can do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hint:
    """In a person's words."""

    meaning: str
    remedy: str


_LIMIT = Hint(
    "Every account that could serve had reached a limit.",
    "Wait for the first reset, or add an account. The routing explainer shows which one returns when.",
)
_CLIENT = Hint(
    "The client's request could not be read or honoured.", "Look at the message: it names the field."
)
_BROKEN = Hint(
    "The connection to upstream broke, or upstream fell silent, after the answer had begun.",
    "Now and then this is upstream's; if it lasts, check this machine's network and any proxy on the way.",
)
HINTS: dict[str, Hint] = {
    "usage_limit_reached": _LIMIT,
    "rate_limit_exceeded": Hint(
        "An API key was over its limit, or upstream slowed an account down.",
        "The message says which. A key's limits are on its page.",
    ),
    "insufficient_quota": _LIMIT,
    "quota_exceeded": _LIMIT,
    "no_accounts": Hint(
        "No account could serve, and not only because of limits.",
        "Look at the accounts: some are paused or need a new sign-in.",
    ),
    "invalid_request_error": _CLIENT,
    "context_length_exceeded": Hint(
        "The conversation is longer than the model takes.", "The client must shorten or compact it."
    ),
    "previous_response_not_found": Hint(
        "The client referred to a response that is not stored here.",
        "Clients that send whole conversations need nothing; others cannot work with this server.",
    ),
    "model_not_found": Hint(
        "Upstream does not know the model, or the account's plan lacks it.", "Choose one of /v1/models."
    ),
    "upstream_unavailable": _BROKEN,
    "stream_incomplete": _BROKEN,
    "stream_idle_timeout": _BROKEN,
    "invalid_api_key": Hint(
        "The client's API key is missing, wrong, disabled or expired.", "Give it one of the API keys' page."
    ),
    "ip_forbidden": Hint(
        "The firewall does not list the client's address.", "Add it on the firewall's page if it may come in."
    ),
    "model_not_allowed": Hint(
        "The API key may not use the model.", "Change the key's models, or the client's."
    ),
    "internal_error": Hint(
        "codexproxy itself failed.", "The server's log has the traceback; please report it."
    ),
    "": Hint("Upstream gave no code.", "Look at the message of one of the requests."),
}
_UNKNOWN = Hint("An error of upstream's own.", "Look at the message of one of the requests.")


def hint_for(code: str) -> Hint:
    return HINTS.get(code, _UNKNOWN)
