"""Names and expressions in our rule files, read without a YAML parser, to be tried on a real Prometheus.

Reads the layout of ``rules/*.yml`` only: ``- record:`` or ``- alert:``, then ``expr:`` on one line or as a
block behind ``|``. The tests hold its count against promtool's, so a rule in
another layout is not lost silently.
"""

import re
from pathlib import Path
from typing import NamedTuple

RULES = Path(__file__).parent / "rules"


class Rule(NamedTuple):
    """One rule of Prometheus."""

    kind: str
    """"record" or "alert"."""
    name: str
    expression: str


def read_rules(path: Path) -> list[Rule]:
    """All rules of ``path``, in its order."""
    rules: list[Rule] = []
    kind = name = ""
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if begins := re.fullmatch(r"\s*- (record|alert): (\S+)", line):
            kind, name = begins.groups()
        elif found := re.fullmatch(r"(\s*)expr: (.+)", line):
            indent, value = found.groups()
            expression = _block(lines[number + 1 :], len(indent)) if value == "|" else value
            rules.append(Rule(kind, name, expression))
    return rules


def all_rules() -> list[tuple[Path, Rule]]:
    """Every rule that Prometheus loads, with the file it is in."""
    return [(path, rule) for path in sorted(RULES.glob("*.yml")) for rule in read_rules(path)]


def _block(lines: list[str], indent: int) -> str:
    """The lines from the first on that are indented by more than ``indent``."""
    block = []
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        block.append(line.strip())
    return "\n".join(block).strip()
