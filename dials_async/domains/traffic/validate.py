"""How well the compiled local simulator agrees with SUMO: the same episodes in both, car by car.

Episodes of 300 steps over a grid of scenarios, from empty to saturated roads, with calm and with wild lights.
Every car's position and speed, every occupancy bit, every reward and every decision whether a car that wants
to enter fits are compared in every step.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.traffic.entries import POSITION, entries_of, paper_entries
from dials_async.domains.traffic.installation import Installation
from dials_async.domains.traffic.local import TrafficLocal
from dials_async.domains.traffic.network import Grid
from dials_async.domains.traffic.rules import DSET_BITS, EPISODE_STEPS, N_APPROACHES
from dials_async.domains.traffic.sumo_local import Cars, SumoLocalRows
from dials_async.kernels.bits import unpack

#: Cars that enter, per approach and second: the GS has about 0.1, from 0.3 on queues fill the roads.
ARRIVAL_PROBABILITIES = (0.05, 0.1, 0.2, 0.35, 0.6)

_Policy = Callable[
    [np.random.Generator, int, int], NDArray[np.bool_]
]  # (random, step, rows) -> switch? [rows]

#: When lights switch. "always" means as often as they can: one second of green.
POLICIES: dict[str, _Policy] = {
    "every 15 s": lambda _, step, n: np.full(n, step % 15 == 14),
    "random 0.1": lambda random, _, n: random.random(n) < 0.1,
    "random 0.5": lambda random, _, n: random.random(n) < 0.5,
    "always": lambda _, __, n: np.full(n, True),
}

#: Metres, metres a second, or reward (which is float32) further apart than this are an error; where only last
#: bits differ it is 1e-11.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Agreement:
    """What was compared, and how far it differed."""

    cars: int
    """That entered, in SUMO."""
    car_steps: int
    position_error_max_m: float
    position_error_median_m: float
    speed_error_max_mps: float
    reward_error_max: float
    wrong_bits: int
    bits: int
    """Of occupancy."""
    wrong_insertions: int
    insertions: int
    """Decisions whether a car that wants to enter fits."""
    lost_lines: int
    """Lines with, in some step, more or fewer cars than in SUMO: their cars are compared no further."""

    @property
    def is_exact(self) -> bool:
        """Whether nothing differed but last bits."""
        wrong = self.wrong_bits + self.wrong_insertions + self.lost_lines
        errors = (self.position_error_max_m, self.speed_error_max_mps, self.reward_error_max)
        return wrong == 0 and max(errors) < TOLERANCE


@dataclass(frozen=True)
class Scenario:
    """Episodes of one kind."""

    arrival_probability: float
    policy: str
    agreement: Agreement


@dataclass(frozen=True)
class Validation:
    """The result for all scenarios."""

    sumo_version: str
    episodes: int
    scenarios: Sequence[Scenario]
    total: Agreement

    @property
    def is_exact(self) -> bool:
        """Whether the compiled simulator did what SUMO does, everywhere."""
        return self.total.is_exact

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "is_exact": self.is_exact}

    def as_text(self) -> str:
        """A table for people."""
        head = [
            f"{'arrivals/s':>10}  {'switching':<10} {'cars':>6} {'position error / m':>20}",
            f"{'speed / m/s':>11} {'reward':>8} {'bits wrong':>16} {'insertions wrong':>17}",
        ]
        under = f"{'':>29} {'median':>10} {'max':>9} {'max':>11} {'max':>8}"
        lines = [
            f"The compiled local simulator beside SUMO {self.sumo_version}, {self.episodes} episodes "
            f"of {EPISODE_STEPS} steps:",
            "",
            " ".join(head),
            under,
            *(_line(f"{s.arrival_probability:.2f}", s.policy, s.agreement) for s in self.scenarios),
            _line("all", "", self.total),
            "",
        ]
        lines.append("They agree." if self.is_exact else "They DIFFER.")
        if self.total.lost_lines:
            lines.append(f"{self.total.lost_lines} lines have more or fewer cars than in SUMO.")
        return "\n".join(lines)


def _line(arrivals: str, policy: str, a: Agreement) -> str:
    bits, insertions = f"{a.wrong_bits} of {a.bits}", f"{a.wrong_insertions} of {a.insertions}"
    return (
        f"{arrivals:>10}  {policy:<10} {a.cars:>6} {a.position_error_median_m:>10.0e} "
        f"{a.position_error_max_m:>9.0e} {a.speed_error_max_mps:>11.0e} {a.reward_error_max:>8.0e} "
        f"{bits:>16} {insertions:>17}"
    )


def validate(api: Any, sumo: Installation, episodes: int = 2, seed: int = 0) -> Validation:
    """Compare the compiled local simulator with SUMO.

    Args:
        api: the module ``libsumo``, or ``traci``; without a running simulation.
        sumo: where SUMO is.
        episodes: of each scenario; 2 are about 6,000 cars and take five seconds.
        seed: of arrivals and lights.
    """
    scenarios = [(p, policy) for p in ARRIVAL_PROBABILITIES for policy in POLICIES]
    n_rows = len(scenarios) * episodes
    probabilities = np.repeat([p for p, _ in scenarios], episodes)
    # Every other episode enters its cars as a corner of the grid does, the rest as the paper.
    corner = entries_of(Grid(2), [0], "road")
    entries = np.concatenate([paper_entries(1), corner] * n_rows)[:n_rows]
    sumo_rows = SumoLocalRows(api, entries, sumo)
    compiled = TrafficLocal(entries, 1)
    comparison = _Comparison(n_rows)
    random = np.random.default_rng(seed)
    try:
        sumo_rows.reset()
        compiled.reset(np.zeros((n_rows, 1), dtype=np.uint64))
        for step in range(EPISODE_STEPS):
            influence = (random.random((n_rows, N_APPROACHES)) < probabilities[:, None]).astype(np.uint8)
            actions = np.concatenate([POLICIES[policy](random, step, episodes) for _, policy in scenarios])
            expected = sumo_rows.step(actions.astype(np.uint8), influence)
            rewards = compiled.step(actions.astype(np.uint8)[:, None], influence[:, None])[:, 0]
            comparison.add(sumo_rows, compiled, influence, np.abs(rewards - expected))
    finally:
        sumo_rows.close()
    rows = [slice(k * episodes, (k + 1) * episodes) for k in range(len(scenarios))]
    return Validation(
        sumo.version,
        n_rows,
        [Scenario(*s, comparison.agreement(part)) for s, part in zip(scenarios, rows, strict=True)],
        comparison.agreement(slice(0, n_rows)),
    )


class _Comparison:
    """Collects the differences of all rows."""

    def __init__(self, n_rows: int) -> None:
        self._position_errors: list[list[NDArray[np.float64]]] = [[] for _ in range(n_rows)]
        self._speed_errors = np.zeros(n_rows)
        self._reward_errors = np.zeros(n_rows)
        self._counts = {
            name: np.zeros(n_rows, dtype=np.int64)
            for name in ("cars", "wrong_bits", "bits", "wrong_insertions", "insertions")
        }
        self._lost = np.zeros((n_rows, N_APPROACHES), dtype=np.bool_)

    def add(
        self,
        sumo_rows: SumoLocalRows,
        compiled: TrafficLocal,
        influence: NDArray[np.uint8],
        reward_errors: NDArray[np.float32],
    ) -> None:
        """Compare the states of both after a step."""
        expected = sumo_rows.cars()
        cars = Cars(compiled.state.n_cars, compiled.state.positions, compiled.state.speeds)
        bits = unpack(compiled.observe()[:, 0], DSET_BITS) != unpack(sumo_rows.observe(), DSET_BITS)
        inserted = (influence == 1) & _has_entered(cars, compiled.state.entries[:, :, POSITION])
        self._counts["cars"] += sumo_rows.inserted.sum(axis=1, dtype=np.int64)
        self._counts["wrong_bits"] += bits.sum(axis=1)
        self._counts["bits"] += DSET_BITS
        self._counts["wrong_insertions"] += (inserted != sumo_rows.inserted).sum(axis=1)
        self._counts["insertions"] += influence.sum(axis=1, dtype=np.int64)
        self._reward_errors = np.maximum(self._reward_errors, reward_errors)
        self._lost |= cars.counts != expected.counts
        for row, line in np.argwhere(~self._lost & (expected.counts > 0)):
            n = expected.counts[row, line]
            positions = np.abs(cars.positions[row, line, :n] - expected.positions[row, line, :n])
            speeds = np.abs(cars.speeds[row, line, :n] - expected.speeds[row, line, :n])
            self._position_errors[row].append(positions)
            self._speed_errors[row] = max(self._speed_errors[row], speeds.max())

    def agreement(self, rows: slice) -> Agreement:
        """Of some rows together."""
        errors = np.concatenate([np.zeros(0), *(e for row in self._position_errors[rows] for e in row)])
        counts = {name: int(values[rows].sum()) for name, values in self._counts.items()}
        return Agreement(
            car_steps=errors.size,
            position_error_max_m=float(errors.max(initial=0.0)),
            position_error_median_m=float(np.median(errors)) if errors.size else 0.0,
            speed_error_max_mps=float(self._speed_errors[rows].max()),
            reward_error_max=float(self._reward_errors[rows].max()),
            lost_lines=int(self._lost[rows].sum()),
            **counts,
        )


def _has_entered(cars: Cars, places: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether the last car of each line came in just now, [rows, approaches].

    It is where cars are put, ``places`` [rows, approaches], and moves; one that came before has left that
    place or stands.
    """
    last = np.maximum(cars.counts - 1, 0)[:, :, None]
    position = np.take_along_axis(cars.positions, last, axis=2)[:, :, 0]
    speed = np.take_along_axis(cars.speeds, last, axis=2)[:, :, 0]
    result: NDArray[np.bool_] = (cars.counts > 0) & (position == places) & (speed > 0.0)
    return result
