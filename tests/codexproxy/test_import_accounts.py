"""`manage.py import_accounts`."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Account
from tests.builders import make_auth_json

pytestmark = pytest.mark.django_db


def write(path: Path, **fields: Any) -> str:
    path.write_text(json.dumps(make_auth_json(**fields)))
    return str(path)


def run(*files: str) -> tuple[str, str, bool]:
    out, err = StringIO(), StringIO()
    try:
        call_command("import_accounts", *files, stdout=out, stderr=err)
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


def test_no_token_is_printed(tmp_path: Path) -> None:
    shown = "".join(
        map(str, run(write(tmp_path / "ann.json"), write(tmp_path / "b.json", tokens={"id_token": 7})))
    )
    assert "rt-ann" not in shown and "eyJ" not in shown
