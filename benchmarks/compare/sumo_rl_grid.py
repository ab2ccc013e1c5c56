"""sumo-rl's environment beside our global simulator: the same 5 x 5 network and demand, random actions.

One SUMO each on one core, in turn, three episodes of 300 simulated seconds. sumo-rl lets an agent act every
``delta_time`` seconds, ours every second; so both simulated seconds and decisions are counted. Both through
libsumo and through TraCI's socket.

python benchmarks/compare/sumo_rl_grid.py
"""

import json
import os
import subprocess
import sys
import time

import dials_async  # noqa: F401  # one BLAS thread, before anything else loads one

# isort: split
import numpy as np

from dials_async.domains.traffic.domain import Traffic
from dials_async.domains.traffic.installation import find_sumo
from dials_async.domains.traffic.network import network_files
from dials_async.domains.traffic.rules import EPISODE_STEPS
from dials_async.runtime.machine import machine

SIDE, EPISODES = 5, 3
DELTA_TIME_S = 5  # sumo-rl's default


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


def sumo_rl() -> list[float]:
    """Seconds of each episode of sumo-rl: its own observations and rewards of all agents."""
    sumo = find_sumo()
    os.environ["SUMO_HOME"] = str(sumo.home)  # before the import, which asks for it
    from sumo_rl import SumoEnvironment

    files = network_files(SIDE, sumo)
    env = SumoEnvironment(
        net_file=str(files.network),
        route_file=str(files.demand),
        num_seconds=EPISODE_STEPS,
        delta_time=DELTA_TIME_S,
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


def main() -> None:
    """Print simulated seconds and decisions per second of both; sumo-rl in processes of their own."""
    if len(sys.argv) > 1:  # the child: libsumo or traci is chosen when sumo-rl is imported
        print(json.dumps(sumo_rl()))
        return
    print(json.dumps(machine()))
    print(f"{SIDE} x {SIDE} lights, {EPISODES} episodes of {EPISODE_STEPS} simulated seconds, medians")
    print("interface  environment  simulated s/s  decisions/s")
    for interface in ("libsumo", "traci"):
        environment = {k: v for k, v in os.environ.items() if k != "LIBSUMO_AS_TRACI"}
        if interface == "libsumo":
            environment["LIBSUMO_AS_TRACI"] = "1"
        child = [sys.executable, __file__, "child"]
        printed = subprocess.run(child, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
        theirs = json.loads(printed.splitlines()[-1])
        for name, seconds, every in (("ours", ours(interface), 1), ("sumo-rl", theirs, DELTA_TIME_S)):
            rate = EPISODE_STEPS / float(np.median(seconds))
            print(
                f"{interface:<10} {name:<12} {rate:>13,.0f} {rate * SIDE * SIDE / every:>12,.0f}", flush=True
            )


if __name__ == "__main__":
    main()
