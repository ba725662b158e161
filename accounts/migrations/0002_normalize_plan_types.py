"""Writes known plans in one way: lower case and trimmed; no plan becomes "unknown"."""

from __future__ import annotations

from typing import Any

from django.db import migrations

# Frozen here: what the application knows may change, this step may not.
KNOWN_PLANS = frozenset({"free", "plus", "pro", "team", "business", "enterprise", "edu"})


def normalized(plan: str | None) -> str:
    trimmed = (plan or "").strip()
    if trimmed.lower() in KNOWN_PLANS:
        return trimmed.lower()
    return trimmed or "unknown"


def forwards(apps: Any, schema_editor: Any) -> None:
    accounts = apps.get_model("accounts", "Account").objects.using(schema_editor.connection.alias)
    for pk, plan in accounts.values_list("pk", "plan_type").iterator():
        if normalized(plan) != plan:
            accounts.filter(pk=pk).update(plan_type=normalized(plan))


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]

    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
