"""Writes the Grafana dashboards, and lists every expression that Prometheus has to understand.

    python monitoring/dashboards.py        # after a change in boards/, from the folder of the project

Grafana loads grafana/dashboards/*.json; those are checked in, so that nobody needs this program to use them.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from boards.board import Board
from boards.fleet import fleet
from boards.influence import influence
from boards.learning import learning
from boards.throughput import throughput
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from rule_files import all_rules

FOLDER = Path(__file__).parent / "grafana" / "dashboards"

#: File name without its end, and what makes it.
BOARDS = {"throughput": throughput, "influence": influence, "learning": learning, "fleet": fleet}

#: What Grafana puts in for its own variables, about, on a page of half an hour and scrapes of 5 s.
INTERVALS = {"__rate_interval": "20s", "__interval": "5s", "__range": "30m"}


def as_json(board: Board | Dashboard) -> str:
    """The text of a dashboard's file."""
    model = board.build() if isinstance(board, Board) else board
    return json.dumps(model, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def fill(expression: str, run: str, group: str = ".*") -> str:
    """``expression`` as Grafana sends it: with its template variables and intervals put in.

    Raises KeyError for a variable that no dashboard has. ``$1`` of label_replace stays.
    """
    values = {"run": run, "group": group, **INTERVALS}
    return re.sub(r"\$([a-z_]\w*)|\$\{([a-z_]\w*)\}", lambda found: values[found[1] or found[2]], expression)


def expressions() -> list[tuple[str, str]]:
    """(where it stands, PromQL) of all dashboards and rules; those of dashboards hold template variables."""
    found = [
        (f"{name}.json, {where}", expression)
        for name, make in BOARDS.items()
        for where, expression in _of_board(json.loads(as_json(make())))
    ]
    found += [(f"{path.name}, {rule.name}", rule.expression) for path, rule in all_rules()]
    return found


def _of_board(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for variable in document["templating"]["list"]:
        # label_values(SELECTOR, LABEL) is Grafana's own; the selector is what it asks Prometheus for.
        if selector := re.fullmatch(r"label_values\((.+), \w+\)", str(variable.get("query", ""))):
            yield f"variable {variable['name']}", selector[1]
    for annotation in document["annotations"]["list"]:
        if "expr" in annotation:
            yield f"annotation {annotation['name']}", annotation["expr"]
    for panel in document["panels"]:
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']}", target["expr"]


def main() -> None:
    """Rewrite all files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, make in BOARDS.items():
        path = FOLDER / f"{name}.json"
        path.write_text(as_json(make()), encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
