"""Pure: every number of the data plane, named."""

from __future__ import annotations

MIB = 1024 * 1024

# Bodies of clients, after decompression.
BODY_LIMIT = 32 * MIB
RESPONSES_BODY_LIMIT = 128 * MIB
# Larger ones are read only after a look at who sends them.
BODY_READ_UNSEEN = 64 * 1024
BODIES_IN_FLIGHT_LIMIT = 256 * MIB
# The form that asks for a key.
KEY_FORM_LIMIT = 4096
# The dashboard's, with room apart: who sends them is known only later, and must not take the clients' room.
DASHBOARD_BODY_LIMIT = MIB
# Some auth.json files at once.
UPLOAD_LIMIT = 8 * MIB
DASHBOARD_BODIES_IN_FLIGHT_LIMIT = 64 * MIB
BUSY_RETRY_AFTER_S = 5

# Towards upstream.
CONNECT_TIMEOUT_S = 10.0
UPSTREAM_SILENCE_S = 600.0
EVENT_LIMIT = 16 * MIB
# With an image inside.
IMAGE_EVENT_LIMIT = 64 * MIB
ERROR_BODY_LIMIT = 256 * 1024
# Of an answer that is one body.
WHOLE_BODY_LIMIT = 32 * MIB
# For so long compactions are asked for by a trigger after upstream has had no endpoint for them.
COMPACT_MISSING_S = 300.0
CATALOGUE_TIMEOUT_S = 15.0
CATALOGUE_BODY_LIMIT = 16 * MIB
CATALOGUE_MAX_AGE_S = 300.0
# How often the plans' catalogues are looked at, while there are requests; and how soon again after a failure,
# twice as long after each further one.
CATALOGUE_SYNC_S = 3600.0
CATALOGUE_RETRY_S = 60.0
# One for each client version that asks, and each plan.
CATALOGUES = 64
# After the terminal event: how long upstream may take to end its answer; then the connection is reused.
END_OF_STREAM_S = 1.0

# Websockets.
# Frames that came together go on together up to here.
BATCH_BYTES = 32 * 1024
FRAME_LIMIT = 64 * MIB
# Upstream ends a socket after an hour; ours is retired between two turns, with time for a long last one.
SOCKET_LIFETIME_S = 50 * 60.0
# For so long turns go over HTTP after upstream has refused the upgrade itself.
SOCKETS_REFUSED_S = 300.0
# Of what upstream says between two turns.
IDLE_FRAMES = 16
# A client's frames that wait for the running turn before no more are read. While more are read, a client that
# leaves is noticed.
FRAMES_WAITING = 16

# Towards the client.
KEEP_ALIVE_S = 10.0
# Nothing judged for so long: the 200 and keep-alives go out, failover stays allowed.
UNJUDGED_S = 10.0

# Failover.
TRANSIENT_FAILURES = 3
RECONNECTS = 1

# What keeps an account out of the choice.
LIMIT_WITHOUT_RESET_S = 60.0
QUOTA_WITHOUT_RESET_S = 3600.0
LONGEST_WINDOW_S = 31 * 24 * 3600.0
DEFAULT_LONGEST_WINDOW_S = 7 * 24 * 3600.0
ERRORS_BEFORE_BACKOFF = 3
BACKOFF_S = 30.0
BACKOFF_LIMIT_S = 300.0
# Each request in flight counts as so many percent of both windows.
IN_FLIGHT_PERCENT = 2.5

# Affinity.
CONVERSATION_AFFINITY_S = 30 * 24 * 3600.0
DERIVED_AFFINITY_S = 30 * 60.0
AFFINITY_YIELDS_PERCENT = 95.0
AFFINITY_YIELDS_TO_PERCENT = 80.0
AFFINITY_BLOCK_S = 300.0
AFFINITY_ENTRIES = 50_000
FOREIGN_ITEMS = 2_000

# Wrong passwords are recorded too: anybody could fill the audit log if it were kept for ever.
AUDIT_DAYS = 365
NOTICE_DAYS = 90

# How long a request waits to hear of a conversation that another process knows; and how long none asks after
# the database did not answer.
RECALL_TIMEOUT_S = 1.0
RECALL_PAUSE_S = 5.0

SNAPSHOT_POLL_S = 0.5
# How long a page of the dashboard waits for the process to know what the database says.
CATCH_UP_S = 2.0
# How long processes are told of conversations that were taken off their accounts.
PURGED_SINCE_S = 600.0
AFFINITY_FLUSH_S = 1.0
RECORDS_WAITING = 10_000
# What was learned of accounts, while the database does not take it; and at a stop.
LEDGER_PAUSE_S = 1.0
LEDGER_STOP_S = 10.0

# Keys, and who may come in.
# Wrong keys from one address within the period; then 429.
WRONG_KEYS = 8
WRONG_KEYS_PERIOD_S = 60.0
ADDRESSES_REMEMBERED = 10_000
REFUSALS_REMEMBERED = 200
# Requests that answer a turn, in one process.
TURNS_IN_FLIGHT = 1_000
KEY_BUSY_RETRY_AFTER_S = 2

# Limits of keys: what a request is taken to use until it has ended.
BYTES_PER_TOKEN = 4
RESERVED_INPUT_TOKENS = 272_000
RESERVED_OUTPUT_TOKENS = 2_048
RESERVE_TIMEOUT_S = 10.0
SETTLE_WITHIN_S = 0.05
CLAIMS_WITHIN_S = 0.004
RESERVATIONS_GROUP = 500
# A process that lives prolongs its reservations in time; those of one that died end after this.
RESERVATION_S = 30.0
RESERVATION_PROLONG_S = 10.0


CLIENT_PATHS = ("/v1/", "/backend-api/")
_UPLOADS = ("/api/accounts/import", "/admin/accounts/account/add")


def body_limit(path: str) -> int:
    """How large a body may be that is sent to `path`."""
    path = path.rstrip("/")
    if not path.startswith(CLIENT_PATHS):
        return UPLOAD_LIMIT if path in _UPLOADS else DASHBOARD_BODY_LIMIT
    if path.endswith("/usage"):
        return KEY_FORM_LIMIT
    return RESPONSES_BODY_LIMIT if path.endswith(("/responses", "/responses/compact")) else BODY_LIMIT


def is_dashboards(path: str) -> bool:
    return not path.startswith(CLIENT_PATHS)
