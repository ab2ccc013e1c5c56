"""A run ends with the same weights whatever happens to it: faults of ten kinds, drawn from a seed.

    python benchmarks/faults.py                                             # 200 faults, about 40 minutes
    python benchmarks/faults.py --seed 7 --faults 30 --preset warehouse-4   # a shorter series
    python benchmarks/faults.py --kinds "kill,link cut" --keep-going

Each preset is trained undisturbed in one process. Then ``honcho start`` trains it (3 rollout workers, 2
learners, private servers), run after run, until all faults have happened. A fault begins when the run has
moved on since the one before, or, one in four, while that one lasts. After each run: exit code 0, the same
bits in all weights, every message used once, no process left, no traceback. Exit code 1 if anything differs.

kill              SIGKILL while it computes: any worker, the keeper, RabbitMQ, Redis, a SUMO
freeze            SIGSTOP, and SIGCONT up to 15 s later: the same
link cut          of one kind of processes, or all, to RabbitMQ or Redis: closed and refused, or silent
Redis OOM         its maxmemory is below what it holds
Redis MISCONF     its background save fails, so it takes no writes
disk full         of the run's folder and Redis' data: a small file system in memory; who must not mount one
                  has a keeper that cannot write files instead
stale worker      a rollout worker of a forgotten run of the same name, frozen since, goes on
other run         a learner and a worker of a run beside, in the same database, or of the same name in another
other arithmetic  a worker from a copy of the package with one edited kernel: refused, with exit code 2
torn cache        files of compiled kernels are cut off while a process is killed and starts again

Linux, from the folder of the project; traffic-4 needs SUMO (``make sumo``). What a run that failed has
written stays in --folder.
"""

import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import click
from faulting.beside import edited_copy
from faulting.fire import Outcome, can_mount, under_fire
from faulting.schedule import KINDS, SUMO, Fault, schedule

from dials_async.clock import make_clock
from dials_async.config import Config, load_config
from dials_async.domains.registry import make_domain
from dials_async.kernels.compile import CACHE_FOLDER
from dials_async.runtime.embedded import EmbeddedRun
from dials_async.runtime.results import weights_sha256
from dials_async.runtime.warmup import compile_kernels

#: Short updates and refreshes, so that faults meet every phase.
SETTINGS = {
    "warehouse": (
        *("rollout.episodes_per_task=8", "ppo.epochs=2", "runtime.checkpoint_seconds=5"),
        *("schedule.refresh_steps=16000", "aip.gs_steps=2000", "aip.epochs=5"),
        *("schedule.eval_episodes=2", "schedule.final_eval_episodes=8"),
    ),
    "traffic": (
        *("rollout.episodes_per_task=2", "ppo.epochs=2", "runtime.checkpoint_seconds=5"),
        *("schedule.refresh_steps=24000", "aip.gs_steps=1200", "aip.epochs=4"),
        *("schedule.eval_episodes=1", "schedule.final_eval_episodes=4"),
    ),
}


@click.command(help=__doc__.split("\n", maxsplit=1)[0])
@click.option("--seed", default=1, show_default=True, help="Of all faults: kinds, targets, durations.")
@click.option("--faults", "n_faults", default=200, show_default=True, help="In all runs together.")
@click.option("--preset", "presets", multiple=True, help="Repeatable.  [default: warehouse-4 and traffic-4]")
@click.option("--steps", default=0, help="Per agent.  [default: 480,000, traffic 240,000]")
@click.option("--per-run", default=50, show_default=True, help="Faults that are meant for one run.")
@click.option("--kinds", default=",".join(KINDS), show_default=True, help="Separated by commas.")
@click.option("--set", "settings", multiple=True, help="For example rollout.tasks_per_update=4.")
@click.option("--keep-going", is_flag=True, help="Go on with the next run after one that failed.")
@click.option("--patience", default=600.0, show_default=True, help="Seconds without progress that fail.")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path("runs/faults"), help="Removed before."
)
def main(
    seed: int,
    n_faults: int,
    presets: tuple[str, ...],
    steps: int,
    per_run: int,
    kinds: str,
    settings: tuple[str, ...],
    keep_going: bool,
    patience: float,
    folder: Path,
) -> None:
    chosen = [kind.strip() for kind in kinds.split(",")]
    if unknown := set(chosen) - KINDS.keys():
        raise click.UsageError(f"no such kind: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: nothing is left behind
    folder = folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    configs = [_config(preset, steps, settings) for preset in presets or ("warehouse-4", "traffic-4")]
    expected = []
    for config in configs:
        expected.append(_undisturbed(config, folder))
        _say(f"{config.preset}, undisturbed: {expected[-1][0][:16]}")
    copies = [_copy(config, folder) if "other arithmetic" in chosen else None for config in configs]
    if "disk full" in chosen and not can_mount():
        _say("disk full: no right to mount a small file system: the keeper alone cannot write files instead")
    # One stream of faults whatever the presets, so that a seed means the same.
    stream = islice(schedule(seed, chosen), n_faults)
    outcomes: list[Outcome] = []
    left: list[Fault] = []
    for number, which in enumerate(cycle(range(len(configs))), start=1):
        faults = [*left, *islice(stream, per_run - len(left))]
        if not faults:
            break
        config = configs[which]
        _say(f"run {number}: {config.preset}, {config.run.steps:,} steps per agent, {len(faults)} faults")
        outcome = under_fire(
            config,
            expected[which],
            folder / f"run-{number}",
            [_for(config, fault) for fault in faults],
            CACHE_FOLDER.parent,
            copies[which],
            patience,
            _say,
        )
        outcomes.append(outcome)
        left = outcome.left
        result = "; ".join(outcome.problems) or "the same weights, exit code 0, nothing left"
        _say(f"run {number}: {len(outcome.done)} faults in {outcome.seconds:.0f} s: {result}")
        if outcome.problems and not keep_going:
            break
    for line in _table(outcomes):
        click.echo(line)
    failed = sum(bool(outcome.problems) for outcome in outcomes)
    click.echo("all the same" if not failed else f"{failed} OF {len(outcomes)} RUNS FAILED")
    raise SystemExit(1 if failed else 0)


def _config(preset: str, steps: int, settings: tuple[str, ...]) -> Config:
    domain = load_config(preset).domain["name"]
    steps = steps or (240_000 if domain == "traffic" else 480_000)
    return load_config(preset, [*SETTINGS[domain], *settings], {"run": {"steps": steps}})


def _undisturbed(config: Config, folder: Path) -> tuple[str, int]:
    """The hash of the weights of the same run in this process, and how many messages it used."""
    compile_kernels(config)
    start = time.monotonic()
    run = EmbeddedRun("undisturbed", config, folder / "undisturbed", resume=False)
    run.start()
    assert run.wait(lambda: None)
    clock = make_clock(config, make_domain(config.domain))
    agents = sum(group.n_agents for group in run.context.groups)
    _say(f"{config.preset}: {time.monotonic() - start:.0f} s in one process")
    return weights_sha256(run.context), clock.n_updates * config.rollout.tasks_per_update * agents


def _copy(config: Config, folder: Path) -> Path:
    """A copy of the package with one edit; its kernels are compiled into the cache that runs are given."""
    preset = folder / f"{Path(config.preset).stem}.toml"
    preset.write_text(config.to_toml(), encoding="utf-8")
    _say(f"{config.preset}: compiling the kernels of a copy of the package with one edit")
    return edited_copy(preset, CACHE_FOLDER.parent)


def _for(config: Config, fault: Fault) -> Fault:
    """Where there is no SUMO, who would use it is the target."""
    has_sumo = config.domain["name"] == "traffic"
    return fault if has_sumo or fault.target != SUMO else replace(fault, target="gs_sampler.1")


def _table(outcomes: list[Outcome]) -> Iterator[str]:
    """How many faults of each kind there were in each run, and what came of it."""
    counts = [Counter(fault.kind for fault in outcome.done) for outcome in outcomes]
    yield f"{'':<18}" + "".join(f"{f'run {k + 1}':>9}" for k in range(len(outcomes))) + f"{'all':>9}"
    for kind in KINDS:
        yield f"{kind:<18}" + "".join(f"{count[kind]:>9}" for count in [*counts, sum(counts, Counter())])
    every = [sum(count.values()) for count in counts]
    yield f"{'faults':<18}" + "".join(f"{n:>9}" for n in [*every, sum(every)])
    yield f"{'seconds':<18}" + "".join(f"{outcome.seconds:>9.0f}" for outcome in outcomes)
    yield f"{'weights':<18}" + "".join(f"{outcome.sha256[:7]:>9}" for outcome in outcomes)
    yield f"{'as undisturbed':<18}" + "".join(f"{'NO' if o.problems else 'yes':>9}" for o in outcomes)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
