"""Final returns and wall times of whole runs over several seeds: mean, standard error, and each run.

python benchmarks/seeds.py warehouse-4 --seeds 4 --simulator gs --set ppo.epochs=3
"""

import argparse
import json
import statistics
import subprocess
import sys

from dials_async.runtime.machine import machine


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset")
    parser.add_argument("--seeds", type=int, default=4, help="how many runs, one a seed")
    parser.add_argument("--first", type=int, default=1, help="first seed")
    parser.add_argument("--name", default="seeds", help="prefix of the runs' names")
    known, rest = parser.parse_known_args()
    print(json.dumps(machine()))
    rows = []
    for seed in range(known.first, known.first + known.seeds):
        name = f"{known.name}-{known.preset}-{seed}"
        command = [sys.executable, "-m", "dials_async", "train", known.preset, "--run", name]
        command += ["--seed", str(seed), "--quiet", "--json", *rest]
        finished = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        summary = json.loads(finished.stdout)
        rows.append(summary)
        print(
            f"seed {seed}: return {summary['final_return_mean']:.3f} "
            f"(greedy {summary['final_greedy_return_mean']:.3f}), {summary['wall_seconds']:.1f} s, "
            f"{summary['agent_steps']:,} steps per agent, "
            f"{summary['agent_steps_per_second']:,.0f} agent-steps/s, "
            f"weights {summary['weights_sha256'][:12]}",
            flush=True,
        )
    for label, key in (("sampled", "final_return_mean"), ("greedy", "final_greedy_return_mean")):
        values = [row[key] for row in rows]
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
        print(f"{label}: mean {statistics.mean(values):.3f} +- {error:.3f} over {len(values)} seeds")
    print(f"wall seconds: at most {max(row['wall_seconds'] for row in rows):.1f}")


if __name__ == "__main__":
    main()
