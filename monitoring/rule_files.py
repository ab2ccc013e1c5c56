"""Names and expressions in our rule files, to be tried on a real Prometheus."""

from pathlib import Path
from typing import NamedTuple

import yaml

RULES = Path(__file__).parent / "rules"


class Rule(NamedTuple):
    """One rule of Prometheus."""

    kind: str
    """"record" or "alert"."""
    name: str
    expression: str


def read_rules(path: Path) -> list[Rule]:
    """All rules of ``path``, in its order."""
    groups = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    return [
        Rule(kind, rule[kind], rule["expr"].strip())
        for group in groups
        for rule in group["rules"]
        for kind in ("record", "alert")
        if kind in rule
    ]


def all_rules() -> list[tuple[Path, Rule]]:
    """Every rule that Prometheus loads, with the file it is in."""
    return [(path, rule) for path in sorted(RULES.glob("*.yml")) for rule in read_rules(path)]
