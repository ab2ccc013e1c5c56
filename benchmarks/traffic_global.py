"""Speed and memory of the traffic domain's global simulator alone: no policies, no AIPs, random switching.

    python benchmarks/traffic_global.py

A step is: random actions of all lights, one second in SUMO, observations, rewards and influence. A reset is
SUMO loaded anew with the seed of the next episode. Memory is that of a process that waits for its next
episode, and of its SUMO where that is another one.
"""

import os
import time
from pathlib import Path

import numpy as np
from traffic_local import processor

from dials_async.domains.traffic.domain import Traffic
from dials_async.domains.traffic.rules import EPISODE_STEPS

EPISODES = 5

#: Interface, lights a side.
SETUPS = (("libsumo", 2), ("libsumo", 5), ("libsumo", 10), ("traci", 2), ("traci", 5))


def memory_mb(process: int) -> float:
    """What the process and those that it started hold in memory."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6 + sum(memory_mb(int(child)) for child in children)


def main() -> None:
    print(f"{processor()}, median of {EPISODES} episodes of {EPISODE_STEPS} steps")
    print("interface  lights  steps/s  reset ms  memory MB")
    random = np.random.default_rng(1)
    for interface, side in SETUPS:
        resets, rates = [], []
        with Traffic(side, interface=interface).make_global(1) as simulator:
            simulator.reset(np.array([0], dtype=np.uint64))  # starts SUMO
            for episode in range(EPISODES):
                start = time.perf_counter()
                simulator.reset(np.array([episode], dtype=np.uint64))
                resets.append(time.perf_counter() - start)
                actions = random.integers(0, 2, (EPISODE_STEPS, side * side, 1)).astype(np.uint8)
                start = time.perf_counter()
                for action in actions:
                    simulator.step(action)
                rates.append(EPISODE_STEPS / (time.perf_counter() - start))
            memory = memory_mb(simulator.process_ids()[0])
        rate, reset_ms = np.median(rates), np.median(resets) * 1000
        print(f"{interface:<9} {side:>3} x {side:<2} {rate:>8,.0f} {reset_ms:>9.1f} {memory:>10.0f}")


if __name__ == "__main__":
    main()
