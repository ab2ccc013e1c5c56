"""The drawing of the warehouse."""

from typing import Any

import pytest

from dials_async.domains.warehouse.render import WarehouseRecorder
from dials_async.report.scene import validate_scene

CENTRES = [(4 * i + 2, 4 * j + 2) for i in range(4) for j in range(4)]


def drawn(
    robots: list[tuple[int, int]], items: list[tuple[int, int, int]], rewards: list[float] | None
) -> dict[str, Any]:
    recorder = WarehouseRecorder(n_side=2)
    recorder.add(CENTRES, [], None)
    recorder.add(robots, items, rewards)
    frame: dict[str, Any] = validate_scene(recorder.scene())["frames"][-1]
    return frame


def test_learning_robots_differ_from_the_ring_and_lie_on_top() -> None:
    frame = drawn(CENTRES, [], [0, 0, 0, 0])

    assert [mover[0] for mover in frame["movers"] if mover[3] == "learner"] == [5, 6, 9, 10]
    assert [mover[3] for mover in frame["movers"]] == ["ring"] * 12 + ["learner"] * 4


def test_cells_become_world_units() -> None:
    frame = drawn(CENTRES, [(4, 7, 3)], None)

    assert frame["movers"][0] == [0, 3, 3, "ring"]
    assert frame["marks"] == [[8, 5, "item", 0.1]]


def test_old_items_have_the_last_colour() -> None:
    assert drawn(CENTRES, [(0, 1, 500)], None)["marks"][0][3] == 1


def test_a_paid_robot_flashes_and_is_counted() -> None:
    frame = drawn(CENTRES, [], [0, 0.5, 0, 0.25])

    assert [mover[0] for mover in frame["movers"] if mover[3] == "paid"] == [6, 10]
    assert [mark[2:] for mark in frame["marks"]] == [["flash", 0.5], ["flash", 0.25]]
    assert frame["text"].startswith("Step 1\nReturn so far 0.19")


def test_two_robots_on_one_cell_lean_to_their_own_regions() -> None:
    # Given: robot 5 (region rows 4..8) and robot 9 (rows 8..12) meet on the shelf between them.
    robots = list(CENTRES)
    robots[5] = robots[9] = (8, 6)

    at = {mover[0]: mover[1:3] for mover in drawn(robots, [], None)["movers"]}

    assert at[5] == [7, 8.82]
    assert at[9] == [7, 9.18]


def test_wrong_numbers_of_robots_or_rewards_are_refused() -> None:
    recorder = WarehouseRecorder(n_side=2)

    with pytest.raises(ValueError, match="16 robots"):
        recorder.add(CENTRES[:3], [], None)
    with pytest.raises(ValueError, match="4 rewards"):
        recorder.add(CENTRES, [], [1.0])
