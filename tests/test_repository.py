"""The shape of the repository: nothing grows too long, and tests are where one looks for them."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

from codexproxy import VERSION
from tests.conftest import ROOT

APPS = ("codexproxy", "accounts", "proxy", "usage", "requestlogs")
FUNCTION_LINES = 60
FILE_LINES = 500


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if "migrations" not in path.parts]


def test_no_function_and_no_file_is_too_long() -> None:
    too_long = []
    for path in sources(*APPS, "tests", "benchmarks"):
        text = path.read_text()
        if text.count("\n") > FILE_LINES:
            too_long.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    too_long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines")
    assert too_long == []


def test_each_test_file_is_named_for_the_file_it_tests() -> None:
    strays = []
    for app in APPS:
        for path in sorted((ROOT / "tests" / app).rglob("test_*.py")):
            folder = path.relative_to(ROOT / "tests").parent
            name = path.name.removeprefix("test_").removesuffix(".py")
            places = [f"{name}.py", f"__{name}__.py", f"{name}/__init__.py", f"management/commands/{name}.py"]
            places.append(f"migrations/{name}.py" if name != "migrations" else "migrations")
            if not any((ROOT / folder / place).exists() for place in places):
                strays.append(str(path.relative_to(ROOT)))
    assert strays == []


def test_the_scripts_can_be_started() -> None:
    for name in ("serve", "test", "check", "clients", "postgres"):
        assert (ROOT / "scripts" / name).stat().st_mode & 0o111, name
    for path in (*(ROOT / "scripts").iterdir(), *(ROOT / ".ci").iterdir()):
        checked = subprocess.run(
            ["bash", "-n", str(path)], capture_output=True, text=True, timeout=10, check=False
        )
        assert checked.returncode == 0, checked.stderr


def test_the_top_level_holds_what_the_design_names_and_what_a_repository_needs() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True
    )
    tops = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert (
        tops
        - {
            *APPS,
            "templates",
            "tests",
            "manage.py",
            "requirements.txt",
            "requirements-dev.txt",
            "pyproject.toml",
            "README.md",
            "LICENSE",
            "docs",
            "scripts",
            "benchmarks",
            ".ci",
            ".gitignore",
            "Dockerfile",
            ".dockerignore",
            "compose.yaml",
        }
        == set()
    )


def test_the_version_is_the_same_in_both_places() -> None:
    assert f'version = "{VERSION}"' in (ROOT / "pyproject.toml").read_text()
