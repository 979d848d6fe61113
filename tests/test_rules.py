"""No rule of docs/reference/semantics.md is without a test, and no test cites a rule that isn't there."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent
SEMANTICS = TESTS.parent / "docs" / "reference" / "semantics.md"
NOT_YET = re.compile(r"^\*In force from: .+\*$")
"""The sign, under a rule's heading or a family's, that its behaviour comes with a later part."""
FAMILY = re.compile(r"^## ([A-Z]): ")
RULE = re.compile(r"^### ([A-Z][0-9]+): ")


@dataclass
class Rule:
    id: str
    in_force: bool


def read_rules(text: str) -> list[Rule]:
    """Read ids and signs: a sign directly under a family's heading holds for all its rules."""
    rules: list[Rule] = []
    family_in_force = True
    for line in text.splitlines():
        if line.startswith("## "):
            family_in_force, current = True, None
        elif found := RULE.match(line):
            current = Rule(found[1], family_in_force)
            rules.append(current)
        elif NOT_YET.match(line):
            if current is None:
                family_in_force = False
            else:
                current.in_force = False
    return rules


def citations() -> Iterator[tuple[str, str]]:
    """Every `pytest.mark.rule("…")` in the tests: the id and where it stands."""
    for file in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("mark.rule")):
                continue
            place = f"{file.relative_to(TESTS)}:{node.lineno}"
            for argument in node.args:
                assert isinstance(argument, ast.Constant), f"{place}: name rules literally"
                yield str(argument.value), place


RULES = read_rules(SEMANTICS.read_text(encoding="utf-8"))


def test_every_rule_in_force_has_a_test() -> None:
    cited = {rule for rule, _ in citations()}
    assert [] == [rule.id for rule in RULES if rule.in_force and rule.id not in cited]


def test_every_cited_rule_exists() -> None:
    known = {rule.id for rule in RULES}
    assert [] == [f"{place} cites {rule}" for rule, place in citations() if rule not in known]


def test_ids_are_unique_and_in_order() -> None:
    """An id is for ever; families count from 1 without gaps."""
    ids = [rule.id for rule in RULES]
    families = Counter(rule[0] for rule in ids)
    counted = [f"{family}{number}" for family, total in families.items() for number in range(1, total + 1)]
    assert counted == ids


def test_a_sign_holds_for_its_rule_or_for_its_family() -> None:
    sign = "*In force from: later*"
    text = f"## A: a\n### A1: x\n{sign}\n### A2: y\n## B: b\n{sign}\n### B1: z\n## C: c\n### C1: w\n"
    expected = {"A1": False, "A2": True, "B1": False, "C1": True}
    assert expected == {rule.id: rule.in_force for rule in read_rules(text)}
