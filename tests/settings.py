"""Settings of the test run: a data folder of its own, quick password hashes, nothing but loopback."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

_folder = tempfile.mkdtemp(prefix="codexproxy-tests-")
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
os.environ["CODEXPROXY_DATA_DIR"] = _folder
os.environ.setdefault("CODEXPROXY_UPSTREAM_BASE_URL", "http://127.0.0.1:9/backend-api")
os.environ.setdefault("CODEXPROXY_AUTH_BASE_URL", "http://127.0.0.1:9")

from codexproxy.settings import *  # noqa: E402, F403
from codexproxy.settings import DATABASES  # noqa: E402

# Looked up when they are asked for: every test's client would go through all static files first.
WHITENOISE_AUTOREFRESH = True
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
if not os.environ.get("CODEXPROXY_DATABASE_URL"):
    # A file, so that threads and tasks of one test see the same rows.
    DATABASES["default"]["TEST"] = {"NAME": os.path.join(_folder, "test.sqlite3")}
