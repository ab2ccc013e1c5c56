"""How labels are kept apart."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dials_async.report.svg import spread

places = st.lists(st.floats(-50, 150, allow_nan=False), max_size=20)


def test_labels_that_do_not_collide_stay_where_they_are() -> None:
    assert spread([10, 50, 30], gap=10, low=0, high=100) == [10, 50, 30]


def test_labels_that_collide_share_the_shift() -> None:
    assert spread([50, 50], gap=10, low=0, high=100) == [45, 55]
    assert spread([50, 49], gap=10, low=0, high=100) == [54.5, 44.5]


@given(places)
def test_labels_are_apart_inside_the_bounds_and_in_order(wanted: list[float]) -> None:
    found = spread(wanted, gap=10, low=0, high=100)

    assert len(found) == len(wanted)
    gap = min(10, 100 / max(1, len(wanted) - 1))
    ordered = sorted(found)
    assert all(b - a >= gap - 1e-6 for a, b in pairwise(ordered))
    assert all(-1e-6 <= y <= 100 + 1e-6 for y in found)
    for (wanted_below, below), (wanted_above, above) in pairwise(sorted(zip(wanted, found, strict=True))):
        assert wanted_below == wanted_above or below <= above + 1e-6


@pytest.mark.parametrize("n", [1, 2, 7])
def test_labels_beyond_the_top_are_pulled_in(n: int) -> None:
    found = spread([200.0] * n, gap=10, low=0, high=100)

    assert max(found) == pytest.approx(100)
