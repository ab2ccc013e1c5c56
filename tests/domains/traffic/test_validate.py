"""The compiled local simulator beside SUMO itself, and the oracle's own properties."""

import json
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest

from dials_async.domains.traffic import validate as module
from dials_async.domains.traffic.entries import paper_entries
from dials_async.domains.traffic.installation import find_sumo
from dials_async.domains.traffic.local import TrafficLocal
from dials_async.domains.traffic.rules import N_APPROACHES
from dials_async.domains.traffic.sumo_local import SumoLocalRows
from dials_async.domains.traffic.validate import validate


@pytest.fixture
def libsumo() -> Iterator[ModuleType]:
    """SUMO in this process: it allows one simulation at a time."""
    import libsumo as api

    yield api
    api.close()


def trajectory(rows: SumoLocalRows, actions: np.ndarray, influence: np.ndarray) -> list[np.ndarray]:
    """Rewards, observations and cars of an episode; ``actions`` [steps, rows], ``influence`` [..., 4]."""
    rows.reset()
    seen = []
    for action, entering in zip(actions, influence, strict=True):
        seen += [rows.step(action, entering), rows.observe(), *(part.copy() for part in rows.cars())]
    return [*seen, rows.dropped.copy()]


def drive(n_steps: int, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Random actions and influence."""
    random = np.random.default_rng(4)
    actions = (random.random((n_steps, n_rows)) < 0.1).astype(np.uint8)
    return actions, (random.random((n_steps, n_rows, N_APPROACHES)) < 0.3).astype(np.uint8)


def test_the_compiled_simulator_does_what_sumo_does(libsumo: ModuleType) -> None:
    result = validate(libsumo, find_sumo())
    # Then: not one decision and not one bit of thousands of cars is wrong.
    assert result.is_exact, result.as_text()
    assert result.total.cars > 4000
    assert result.total.wrong_insertions == 0
    assert result.total.wrong_bits == 0
    assert result.total.position_error_max_m < 1e-8
    assert result.total.reward_error_max < 1e-6
    # Then: the roads were full in some scenarios, so that many cars did not fit.
    assert result.total.insertions > 1.5 * result.total.cars
    assert len(result.scenarios) == 20
    # Then: the report can be read and sent.
    assert "They agree." in result.as_text()
    assert json.loads(json.dumps(result.as_dict()))["total"]["cars"] == result.total.cars


class LateLight(TrafficLocal):
    """Switches one step later than it is told."""

    _last: np.ndarray | None = None

    def step(self, actions: np.ndarray, influence: np.ndarray) -> np.ndarray:
        before = np.zeros_like(actions) if self._last is None else self._last
        self._last = actions
        return super().step(before, influence)


def test_a_simulator_that_differs_is_found_out(libsumo: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TrafficLocal", LateLight)
    result = validate(libsumo, find_sumo(), episodes=1)
    assert not result.is_exact
    assert "They DIFFER." in result.as_text()
    assert result.total.wrong_bits > 0
    assert result.total.lost_lines > 0
    assert result.total.reward_error_max > 0.01


def test_one_wrong_insertion_is_counted_as_one(libsumo: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    refused_at: list[int] = []

    class Refusing(TrafficLocal):
        """Keeps a single car out that would fit, on the first approach of row 0."""

        _steps = 0

        def step(self, actions: np.ndarray, influence: np.ndarray) -> np.ndarray:
            self._steps += 1
            last = self.state.n_cars[0, 0] - 1
            fits = last < 0 or self.state.positions[0, 0, last] > 30.0
            if self._steps > 20 and not refused_at and fits and influence[0, 0, 0]:
                refused_at.append(self._steps)
                influence = influence.copy()
                influence[0, 0, 0] = 0
            return super().step(actions, influence)

    # Given: a simulator that takes one decision out of thousands wrongly.
    monkeypatch.setattr(module, "TrafficLocal", Refusing)
    result = validate(libsumo, find_sumo(), episodes=1)
    assert len(refused_at) == 1
    # Then: it is counted, in its scenario alone, and its line, which has a car less, is not compared further.
    assert result.total.wrong_insertions == 1
    assert [scenario.agreement.wrong_insertions for scenario in result.scenarios] == [1] + [0] * 19
    assert result.total.lost_lines == 1
    assert not result.is_exact
    assert f"1 of {result.total.insertions}" in result.as_text().splitlines()[-4]


def test_the_oracle_repeats_itself_and_its_rows_do_not_touch(libsumo: ModuleType) -> None:
    # Given: three rows, and one alone with the inputs of the middle one.
    actions, influence = drive(150, 3)
    three = SumoLocalRows(libsumo, paper_entries(3), find_sumo())
    first = trajectory(three, actions, influence)
    again = trajectory(three, actions, influence)
    three.close()
    alone = trajectory(
        SumoLocalRows(libsumo, paper_entries(1), find_sumo()), actions[:, 1:2], influence[:, 1:2]
    )
    for a, b, c in zip(first, again, alone, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a[1:2], c)
    # Then: some cars did not fit, in every row.
    assert first[-1].min() > 0


def test_the_oracle_is_the_same_through_traci(libsumo: ModuleType) -> None:
    import traci

    actions, influence = drive(40, 2)
    rows = [SumoLocalRows(api, paper_entries(2), find_sumo()) for api in (libsumo, traci)]
    one, other = (trajectory(row, actions, influence) for row in rows)
    rows[1].close()
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a, b)
