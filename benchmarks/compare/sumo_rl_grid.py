"""sumo-rl's environment beside our global simulator: the same 5 x 5 network and demand, random actions.

One SUMO each on one core, in turn, three episodes of 300 simulated seconds. Our agents act every second;
those of sumo-rl every five unless told otherwise, and it wants yellow to be shorter than that. So it runs
with its defaults, and once with a decision every second and no yellow. Simulated seconds and decisions are
counted, through libsumo and through TraCI's socket.

python benchmarks/compare/sumo_rl_grid.py --csv rates.csv
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import dials_async  # noqa: F401  # one BLAS thread, before anything else loads one

# isort: split
import numpy as np

from dials_async.domains.traffic.domain import Traffic
from dials_async.domains.traffic.installation import find_sumo
from dials_async.domains.traffic.network import network_files
from dials_async.domains.traffic.rules import EPISODE_STEPS
from dials_async.runtime.machine import machine

SIDE, EPISODES = 5, 3

#: Seconds between decisions: of yellow, of the least green. sumo-rl's defaults, then what is nearest to ours.
TIMES_S = {5: (2, 5), 1: (0, 0)}


def ours(interface: str) -> list[float]:
    """Seconds of each episode of our GS: observations, rewards, d-sets and influence of all agents."""
    random, seconds = np.random.default_rng(1), []
    with Traffic(SIDE, interface=interface).make_global(1) as simulator:
        simulator.reset(np.array([0], dtype=np.uint64))  # starts SUMO
        for episode in range(EPISODES):
            since = time.perf_counter()
            simulator.reset(np.array([episode], dtype=np.uint64))
            for _ in range(EPISODE_STEPS):
                simulator.observe()
                simulator.step(random.integers(0, 2, (SIDE * SIDE, 1)).astype(np.uint8))
            seconds.append(time.perf_counter() - since)
    return seconds


def sumo_rl(delta_s: int) -> list[float]:
    """Seconds of each episode of sumo-rl: its own observations and rewards of all agents."""
    sumo = find_sumo()
    os.environ["SUMO_HOME"] = str(sumo.home)  # before the import, which asks for it
    from sumo_rl import SumoEnvironment

    files = network_files(SIDE, sumo)
    env = SumoEnvironment(
        net_file=str(files.network),
        route_file=str(files.demand),
        num_seconds=EPISODE_STEPS,
        delta_time=delta_s,
        yellow_time=TIMES_S[delta_s][0],
        min_green=TIMES_S[delta_s][1],
        single_agent=False,
        sumo_warnings=False,
        add_system_info=False,
        add_per_agent_info=False,
    )
    random, seconds = np.random.default_rng(1), []
    env.reset(seed=0)  # starts SUMO
    for episode in range(EPISODES):
        since = time.perf_counter()
        env.reset(seed=episode)
        over = False
        while not over:
            actions = {light: int(random.integers(2)) for light in env.ts_ids}
            *_, done, _ = env.step(actions)
            over = done["__all__"]
        seconds.append(time.perf_counter() - since)
    env.close()
    return seconds


def theirs(interface: str, delta_s: int) -> list[float]:
    """``sumo_rl`` in a process of its own: libsumo or traci is chosen when it is imported."""
    environment = {k: v for k, v in os.environ.items() if k != "LIBSUMO_AS_TRACI"}
    if interface == "libsumo":
        environment["LIBSUMO_AS_TRACI"] = "1"
    child = [sys.executable, __file__, "--child", str(delta_s)]
    printed = subprocess.run(child, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return list(json.loads(printed.splitlines()[-1]))


def main() -> None:
    """Print simulated seconds and decisions per second of both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--csv", type=Path, help="a file for the rates")
    parser.add_argument("--child", type=int, choices=list(TIMES_S), help=argparse.SUPPRESS)
    known = parser.parse_args()
    if known.child:
        print(json.dumps(sumo_rl(known.child)))
        return
    print(json.dumps(machine()))
    print(f"{SIDE} x {SIDE} lights, {EPISODES} episodes of {EPISODE_STEPS} simulated seconds, medians")
    print("interface  environment  decisions every  simulated s/s  decisions/s")
    rows = []
    for interface in ("libsumo", "traci"):
        episodes = [("ours", 1, ours(interface))]
        episodes += [("sumo-rl", delta_s, theirs(interface, delta_s)) for delta_s in TIMES_S]
        for name, every, seconds in episodes:
            rate = EPISODE_STEPS / float(np.median(seconds))
            decisions = rate * SIDE * SIDE / every
            print(f"{interface:<10} {name:<12} {every:>13} s {rate:>14,.0f} {decisions:>12,.0f}", flush=True)
            rows.append((interface, name, every, round(rate, 1), round(decisions, 1)))
    if known.csv:
        known.csv.parent.mkdir(parents=True, exist_ok=True)
        with open(known.csv, "w", encoding="utf-8", newline="") as file:
            header = ("interface", "environment", "decision_every_s", "simulated_s_per_s", "decisions_per_s")
            csv.writer(file, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
    main()
