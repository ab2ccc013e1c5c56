"""Speed of the traffic domain's local simulator alone, on one core: no policy, no AIP, random inputs.

    python benchmarks/traffic_local.py

A step is: observe, draw an action and the influence, advance. The inflow of the GS is 0.1 cars per approach
and second, about 12 cars an intersection.
"""

import platform
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.traffic.entries import paper_entries
from dials_async.domains.traffic.local import TrafficLocalState, make_local_state, observe, reset, step
from dials_async.domains.traffic.rules import EPISODE_STEPS, N_APPROACHES, OBSERVATION_BITS
from dials_async.kernels.bits import packed_size
from dials_async.kernels.compile import jit
from dials_async.kernels.rng import stream_seeds, uniform

ROWS = 256
REPEATS = 7

#: Inflow per approach and second, probability of a switch per second.
LOADS = ((0.1, 0.5), (0.1, 0.1), (0.05, 0.1), (0.3, 0.5))


@jit
def episodes(
    state: TrafficLocalState,
    streams: NDArray[np.uint64],  # [rows]
    inflow: float,
    switching: float,
    packed: NDArray[np.uint8],  # [bytes]
    influence: NDArray[np.uint8],  # [4]
) -> tuple[float, int]:
    """One episode in each row; the sum of rewards, and of cars over all steps."""
    rewards, cars = 0.0, 0
    for row in range(streams.shape[0]):
        reset(state, row, 0)
    for _ in range(EPISODE_STEPS):
        for row in range(streams.shape[0]):
            observe(state, row, packed)
            for k in range(N_APPROACHES):
                influence[k] = uniform(streams, row) < inflow
            action = 1 if uniform(streams, row) < switching else 0
            rewards += step(state, row, action, influence)
            for k in range(N_APPROACHES):
                cars += state.n_cars[row, k]
    return rewards, cars


def processor() -> str:
    """Its name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    print(f"{processor()}, one core, {ROWS} intersections side by side, median of {REPEATS}")
    print("inflow  switching  cars  return  agent-steps/s")
    packed, influence = np.zeros(packed_size(OBSERVATION_BITS), np.uint8), np.zeros(N_APPROACHES, np.uint8)
    for inflow, switching in LOADS:
        state = make_local_state(paper_entries(ROWS), 1, 0.0)
        streams = stream_seeds(np.array([1], dtype=np.uint64), ROWS)[0]
        episodes(state, streams, inflow, switching, packed, influence)  # compiles
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            rewards, cars = episodes(state, streams, inflow, switching, packed, influence)
            times.append(time.perf_counter() - start)
        steps = ROWS * EPISODE_STEPS
        rate = steps / sorted(times)[REPEATS // 2]
        print(f"{inflow:6.2f} {switching:10.2f} {cars / steps:5.1f} {rewards / ROWS:7.1f} {rate:14,.0f}")


if __name__ == "__main__":
    main()
