"""The page of the register names every item, and every test of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "register.md"
ITEMS = {
    "Critical": ["C1", "C2"],
    "High": [f"H{number}" for number in range(1, 8)],
    "Medium": [f"M{number}" for number in range(1, 8)],
    "Backlog": [f"B{number}" for number in range(1, 5)],
    "Decisions": [f"D{number}" for number in range(1, 5)],
}
# What cannot be tested: a point whose words nobody has.
UNTESTED = {"D3"}
_LINK = re.compile(r"\[`?([^\]`]+)`?\]\(([^)]+)\)")


def rows(group: str) -> list[list[str]]:
    """The cells of a group's items."""
    section = PAGE.read_text().split(f"\n## {group}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if re.match(r"\| [A-Z]\d \|", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names_in(group: str) -> set[str]:
    text = "".join(path.read_text() for path in modules_of(group))
    return set(re.findall(r"^(?:async )?def (test_\w+)", text, re.M))


def modules_of(group: str) -> list[Path]:
    """A group's module, and where one would be too long its second."""
    return sorted((ROOT / "tests" / "register").glob(f"test_{group.lower()}*.py"))


@pytest.mark.parametrize("group", ITEMS)
def test_every_item_has_a_row_with_all_its_cells(group: str) -> None:
    assert [row[0] for row in rows(group)] == ITEMS[group]
    assert all(len(row) == 4 and all(row) for row in rows(group))


@pytest.mark.parametrize("group", ITEMS)
def test_each_item_s_tests_are_those_that_are_named_after_it(group: str) -> None:
    found = names_in(group)
    for item, _, _, proof in rows(group):
        named = {name for name, _ in _LINK.findall(proof)}
        assert named == {name for name in found if name.startswith(f"test_{item.lower()}_")}
        assert named or item in UNTESTED
    starts = tuple(f"test_{item.lower()}_" for item in ITEMS[group])
    assert all(name.startswith(starts) for name in found)


def test_every_difference_is_one_of_an_item_and_has_its_reason() -> None:
    section = PAGE.read_text().split("\n## Where we differ, and why\n")[1]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells and all(len(row) == 4 and all(row) for row in cells)
    known = {item for items in ITEMS.values() for item in items}
    assert {item for row in cells for item in row[0].split(", ")} <= known


@pytest.mark.parametrize("group", ITEMS)
def test_every_link_leads_to_a_file_that_exists(group: str) -> None:
    for item, _, where, proof in rows(group):
        targets = [target for _, target in _LINK.findall(where + proof)]
        assert targets or item in UNTESTED
        assert [target for target in targets if not (PAGE.parent / target).resolve().is_file()] == []
        own = {f"../tests/register/{path.name}": path.read_text() for path in modules_of(group)}
        assert all(f"def {name}(" in own[target] for name, target in _LINK.findall(proof))
