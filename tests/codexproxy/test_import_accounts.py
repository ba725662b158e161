"""`manage.py import_accounts`."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command

from accounts.encryption_check import verify_key
from accounts.models import Account, Credential
from proxy.simulator import RefreshRefused, Simulator, running
from tests.builders import make_auth_json

pytestmark = pytest.mark.django_db


def write(path: Path, **fields: Any) -> str:
    path.write_text(json.dumps(make_auth_json(**fields)))
    return str(path)


def run(*files: str, verify: bool = False) -> tuple[str, str, bool]:
    out, err = StringIO(), StringIO()
    try:
        call_command("import_accounts", *files, no_verify=not verify, stdout=out, stderr=err)
    except CommandError as error:
        return out.getvalue(), err.getvalue() + str(error), True
    return out.getvalue(), err.getvalue(), False


def test_accounts_are_added_and_then_updated(tmp_path: Path) -> None:
    ann = write(tmp_path / "ann.json")
    bob = write(tmp_path / "bob.json", email="bob@example.com", account_id="acc-2", plan="pro")
    assert run(ann, bob) == ("added ann@example.com (plus)\nadded bob@example.com (pro)\n", "", False)
    assert run(ann) == ("updated ann@example.com (plus)\n", "", False)


def test_a_bad_file_stops_no_other(tmp_path: Path) -> None:
    bad, large = tmp_path / "bad.json", tmp_path / "large.json"
    bad.write_text('{"tokens": {}}')
    large.write_bytes(b" " * (1024 * 1024 + 1))
    out, err, failed = run(str(bad), str(tmp_path / "none.json"), str(large), write(tmp_path / "ann.json"))
    assert failed
    assert out == "added ann@example.com (plus)\n"
    assert f"{bad}: auth.json has no tokens.id_token" in err
    assert "none.json: No such file or directory" in err
    assert f"{large}: is too large to be an auth.json" in err
    assert "3 of 4 files could not be imported" in err
    assert Account.objects.count() == 1


def test_of_two_files_of_one_account_only_the_newer_is_stored(tmp_path: Path) -> None:
    old = write(tmp_path / "old.json", last_refresh="2025-01-01T00:00:00Z", tokens={"refresh_token": "old"})
    out, _, failed = run(old, write(tmp_path / "new.json"))
    assert not failed
    assert out == (
        "added ann@example.com (plus)\n"
        "kept ann@example.com (plus): Another one of these files is of the same account, and newer.\n"
    )
    assert Credential.objects.get().refresh_token == "rt-ann@example.com"


def test_no_token_is_printed(tmp_path: Path) -> None:
    shown = "".join(
        map(str, run(write(tmp_path / "ann.json"), write(tmp_path / "b.json", tokens={"id_token": 7})))
    )
    assert "rt-ann" not in shown and "eyJ" not in shown


def test_a_refresh_token_is_tried(tmp_path: Path, settings: Any) -> None:
    simulator = Simulator()
    ann = simulator.add_account("ann", email="ann@example.com")
    file = tmp_path / "ann.json"
    file.write_text(json.dumps(ann.auth_json()))
    with running(simulator) as served:
        settings.AUTH_BASE_URL = served.base_url
        assert run(str(file), verify=True) == ("added ann@example.com (plus)\n", "", False)
        again = run(str(file), verify=True)
    assert again[0].startswith("kept ann@example.com (plus): ")
    assert [call.status for call in simulator.refreshes] == [200]


def test_a_refresh_token_that_is_refused_is_told(tmp_path: Path, settings: Any) -> None:
    simulator = Simulator()
    ann = simulator.add_account("ann")
    ann.script_refresh(RefreshRefused.expired())
    file = tmp_path / "ann.json"
    file.write_text(json.dumps(ann.auth_json()))
    with running(simulator) as served:
        settings.AUTH_BASE_URL = served.base_url
        out, err, failed = run(str(file), verify=True)
    assert (out, failed) == ("", True)
    assert "The sign-in has expired" in err
    assert not Account.objects.exists()


def test_without_the_sign_in_service_the_account_is_not_verified(tmp_path: Path) -> None:
    # The test settings name a service that nobody runs.
    out, _, failed = run(write(tmp_path / "ann.json"), verify=True)
    assert not failed
    assert "added ann@example.com (plus), not verified: The sign-in service cannot be reached" in out


def test_nothing_is_tried_or_stored_under_another_key(tmp_path: Path, settings: Any) -> None:
    verify_key()
    settings.ENCRYPTION_KEYS = Fernet.generate_key().decode()
    simulator = Simulator()
    ann = simulator.add_account("ann", email="ann@example.com")
    file = tmp_path / "ann.json"
    file.write_text(json.dumps(ann.auth_json()))
    before = ann.refresh_token
    with running(simulator) as served:
        settings.AUTH_BASE_URL = served.base_url
        out, err, failed = run(str(file), verify=True)
    assert failed and "not the one that the stored tokens were written with" in err and out == ""
    assert ann.refresh_token == before and not Account.objects.exists()
