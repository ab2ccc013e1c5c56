"""The result of a run in plain words."""

from pathlib import Path
from typing import Any

from dials_async.report.plain import in_words

SUMMARY: dict[str, Any] = {
    "agents": 4,
    "agent_steps": 998_400,
    "wall_seconds": 35.9,
    "agent_steps_per_second": 111_228.0,
    "eval_episodes": 400,
    "baselines": {"random": 1.568, "closest": 13.172},
    "baseline_standard_errors": {"random": 0.025, "closest": 0.072},
    "final_return_mean": 14.489,
    "final_return_se": 0.07,
    "final_greedy_return_mean": 12.347,
    "final_greedy_return_se": 0.08,
    "published": {"DIALS": 13.28, "hand-coded": 13.125},
    "published_note": "after 4 M steps",
    "influence_ce": 0.182,
    "weights_sha256": "5b46595c34660000ffff",
}


def test_policies_are_listed_best_first_with_their_errors() -> None:
    lines = in_words(SUMMARY, Path("runs/demo")).splitlines()
    assert lines[0] == "4 agents learned for 998,400 steps each in 36 s (111,228 agent-steps/s)."
    assert lines[2:6] == [
        "  learned             14.49 +- 0.07  <- this run",
        "  closest             13.17 +- 0.07",
        "  learned, greedy     12.35 +- 0.08  <- this run, always the likeliest action",
        "  random               1.57 +- 0.03",
    ]
    assert lines[6] == "Published (Suau et al. 2022, after 4 M steps): DIALS 13.28, hand-coded 13.125"
    assert lines[7] == "Influence cross-entropy at the end: 0.182 nats per source"
    assert lines[8] == "Weights 5b46595c34660000...  Report: runs/demo/report.html"


def test_what_a_run_does_not_have_is_left_out() -> None:
    text = in_words({**SUMMARY, "published": {}, "influence_ce": None}, Path("runs/demo"))
    assert "Published" not in text
    assert "cross-entropy" not in text
