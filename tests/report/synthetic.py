"""A synthetic run folder that looks like a real one: plausible numbers, and a random-walk warehouse."""

import csv
import json
import math
import random
from pathlib import Path
from typing import Any

from dials_async.domains.warehouse.render import WarehouseRecorder

CONFIG = """[run]
preset = "warehouse-4"
seed = 1
steps = 1000000

[influence]
refresh_every_steps = 500000
title = "a <b>bold</b> & odd value"
"""


def summary(agents: int = 4, **changes: Any) -> dict[str, Any]:
    chance = random.Random(agents)
    values: dict[str, Any] = {
        "preset": "warehouse-4",
        "simulator": "dials",
        "seed": 1,
        "agents": agents,
        "agent_steps": 1_000_000,
        "total_agent_steps": agents * 1_000_000,
        "wall_seconds": 38.41,
        "agent_steps_per_second": 104_137.5,
        "seconds": {"collect": 1.21, "aip": 9.83, "rollout": 21.4, "learn": 31.77, "evaluate": 3.15},
        "final_return_mean": 14.2271,
        "final_return_se": 0.0613,
        "final_greedy_return_mean": 14.4127,
        "final_greedy_return_se": 0.0588,
        "eval_episodes": 400,
        "baselines": {
            "random": 1.5149,
            "oldest": 13.102,
            "closest": 13.143,
            "closest-centre": 14.611,
            "age-distance": 14.803,
        },
        "baseline_standard_errors": {
            "random": 0.03,
            "oldest": 0.07,
            "closest": 0.07,
            "closest-centre": 0.06,
            "age-distance": 0.06,
        },
        "published": {"DIALS F=4M": 13.28, "GS": 8.12, "untrained-DIALS": 4.33, "hand-coded": 13.125},
        "return_per_agent": [14.2271 + chance.gauss(0, 0.12) for _ in range(agents)],
        "influence_ce": 0.2134,
        "aip_refreshes": 2,
        "weights_sha256": "9f2c4d1e" * 8,
        "versions": {"python": "3.11.2", "numpy": "2.3.1", "numba": "0.62.0", "dials-async": "0.1.0"},
        "machine": {"cpu": "Example CPU @ 2.60GHz", "cores": 2, "memory_gib": 8, "system": "Linux 6.1"},
        "date": "2025-01-31 12:00 UTC",
    }
    return {**values, **changes}


def metrics(values: dict[str, Any], rows: int = 21) -> list[dict[str, Any]]:
    chance = random.Random(7)
    table = []
    for i in range(rows):
        share = i / max(1, rows - 1)
        final, start = values["final_return_mean"], 1.5
        mean = final - (final - start) * math.exp(-7 * share) + chance.gauss(0, 0.12) * (0 < share < 1)
        trained = values["simulator"] == "dials"
        ce = (
            (0.62 if share < 0.01 else 0.5 - 0.2 * share if share < 0.5 else 0.3 - 0.09 * share)
            if trained
            else 1.39
        )
        greedy = mean + 0.25 * share
        table.append(
            {
                "steps": int(share * values["agent_steps"]),
                "seconds": round(share * values["wall_seconds"], 3),
                "return_mean": round(mean, 4),
                "return_se": round(0.15 - 0.08 * share, 4),
                "greedy_return_mean": round(greedy, 4),
                "greedy_return_se": round(0.2 - 0.1 * share, 4),
                "influence_ce_mean": "" if values["simulator"] == "gs" else round(ce, 4),
                "influence_ce_min": "" if values["simulator"] == "gs" else round(ce * 0.85, 4),
                "influence_ce_max": "" if values["simulator"] == "gs" else round(ce * 1.12, 4),
                "aip_version": "" if values["simulator"] == "gs" else 1 + (share >= 0.5),
            }
        )
    return table


REFRESHES = [
    {
        "aip_version": 1,
        "steps": 0,
        "ce_before": 1.3871,
        "ce_after": 0.6204,
        "ce_marginal": 0.7391,
        "seconds": 4.9,
    },
    {
        "aip_version": 2,
        "steps": 500_000,
        "ce_before": 0.402,
        "ce_after": 0.2553,
        "ce_marginal": 0.61,
        "seconds": 4.93,
    },
]


def random_walk_scene(n_side: int = 2, steps: int = 100, seed: int = 3) -> dict[str, Any]:
    """A warehouse whose robots walk to random items of their region; rewards as the domain defines them."""
    chance = random.Random(seed)
    side, recorder = n_side + 2, WarehouseRecorder(n_side)
    cells = 4 * side + 1
    shelf = [(r, c) for r in range(cells) for c in range(cells) if (r % 4 == 0) != (c % 4 == 0)]
    robots = [(4 * i + 2, 4 * j + 2) for i in range(side) for j in range(side)]
    items = {cell: 0 for cell in shelf if chance.random() < 0.1}
    recorder.add(robots, [(*cell, age) for cell, age in items.items()], None)
    for _ in range(steps):
        items = {cell: age + 1 for cell, age in items.items()}
        rewards = []
        for k, (row, col) in enumerate(robots):
            top, left = 4 * (k // side), 4 * (k % side)
            mine = [(r, c) for r, c in items if top <= r <= top + 4 and left <= c <= left + 4]
            target = min(
                mine, key=lambda t: (abs(t[0] - row) + abs(t[1] - col), t), default=(top + 2, left + 2)
            )
            robots[k] = _towards(row - top, col - left, target[0] - top, target[1] - left)
            robots[k] = (robots[k][0] + top, robots[k][1] + left)
            if 0 < k // side <= n_side and 0 < k % side <= n_side:
                oldest = max((items[cell] for cell in mine), default=1)
                rewards.append(items[robots[k]] / oldest if robots[k] in items else 0.0)
        items = {cell: age for cell, age in items.items() if cell not in robots}
        items |= {cell: 0 for cell in shelf if cell not in items and chance.random() < 0.02}
        recorder.add(robots, [(*cell, age) for cell, age in items.items()], rewards)
    return recorder.scene()


def _towards(row: int, col: int, to_row: int, to_col: int) -> tuple[int, int]:
    if (row, col) == (to_row, to_col):
        return row, col
    if col in (0, 4):  # an edge can only be left inwards
        return row, col + (1 if col == 0 else -1)
    if row in (0, 4):
        return row + (1 if row == 0 else -1), col
    if to_row in (0, 4) and col != to_col:
        return row, col + (1 if to_col > col else -1)
    if row != to_row:
        return row + (1 if to_row > row else -1), col
    return row, col + ((to_col > col) - (to_col < col))


def write_run(
    folder: Path,
    *,
    agents: int = 4,
    scene: dict[str, Any] | None = None,
    optional: bool = True,
    **changes: Any,
) -> Path:
    """A run folder; ``optional`` = False leaves out refreshes, configuration and scene."""
    folder.mkdir(parents=True, exist_ok=True)
    values = summary(agents, **changes)
    (folder / "summary.json").write_text(json.dumps(values))
    write_csv(folder / "metrics.csv", metrics(values))
    if optional:
        (folder / "config.toml").write_text(CONFIG)
        (folder / "scene.json").write_text(json.dumps(scene or random_walk_scene(steps=12)))
        if values["simulator"] == "dials":
            write_csv(folder / "refreshes.csv", REFRESHES)
    return folder


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
