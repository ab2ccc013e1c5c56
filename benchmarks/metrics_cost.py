"""What metrics cost: the same run with and without them, in turn, as the ratio of their throughputs.

With: every process counts, serves /metrics, and is read every second, as five times the default of
monitoring/prometheus.yml. Without: --metrics-address off. Each pair runs back to back, its order alternates.

    python benchmarks/metrics_cost.py --pairs 10
    python benchmarks/metrics_cost.py --preset warehouse-25 --steps 60000
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

from dials_async.servers.private import lasting_port

#: Seconds between two reads of /metrics.
READ_EVERY_S = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="warehouse-4")
    parser.add_argument("--steps", type=int, default=400_000, help="per agent")
    parser.add_argument("--pairs", type=int, default=10)
    options = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        train(options, Path(folder) / "first", "off")  # compiles what is not compiled
        for pair in range(options.pairs):
            order = ("on", "off") if pair % 2 else ("off", "on")
            rates = {state: train(options, Path(folder) / f"{state}{pair}", state) for state in order}
            ratios.append(rates["on"] / rates["off"])
            print(
                f"{pair + 1:>3}  on {rates['on']:>10,.0f}  off {rates['off']:>10,.0f} agent-steps/s", end="  "
            )
            print(f"ratio {ratios[-1]:.4f}", flush=True)
    cost = 1.0 - statistics.median(ratios)
    print(f"median of {len(ratios)} pairs: metrics cost {cost:+.2%} of the throughput ", end="")
    print(f"(ratios {min(ratios):.3f} to {max(ratios):.3f})")


def train(options: argparse.Namespace, runs: Path, state: str) -> float:
    """Agent-steps per second of one run."""
    address = f"127.0.0.1:{lasting_port()}" if state == "on" else "off"
    command = [
        sys.executable,
        "-m",
        "dials_async",
        "train",
        options.preset,
        "--run",
        "r",
        "--quiet",
        "--json",
    ]
    command += ["--steps", str(options.steps), "--metrics-address", address]
    # The evaluation at the end is not what is measured here.
    command += ["--set", "schedule.final_eval_episodes=4", "--set", "schedule.eval_episodes=4"]
    over = threading.Event()
    reads: list[int] = []
    reader = threading.Thread(target=read, args=(f"http://{address}/metrics", over, reads))
    if state == "on":
        reader.start()
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, "DIALS_RUNS": str(runs)}
        )
    finally:
        over.set()
    if state == "on":
        reader.join()
        assert len(reads) > 2, "the numbers were never read"
    return float(json.loads(done.stdout)["agent_steps_per_second"])


def read(url: str, over: threading.Event, reads: list[int]) -> None:
    """Read ``url`` until ``over``, as Prometheus does; ``reads`` collects sizes in bytes."""
    while not over.wait(READ_EVERY_S):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                reads.append(len(answer.read()))
        except (urllib.error.URLError, ConnectionError):  # before it serves, or after
            continue


if __name__ == "__main__":
    main()
