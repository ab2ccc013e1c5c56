"""Compile the kernels of a run before its clock starts: once per machine, by a tiny run of the same kind.

Several processes that meet an empty cache would each compile everything: the first one does, the others wait.
"""

import fcntl
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from dials_async.config import Config
from dials_async.domains.registry import make_domain
from dials_async.errors import TrainingError
from dials_async.kernels.compile import CACHE_FOLDER
from dials_async.runtime.embedded import EmbeddedRun


def compile_kernels(config: Config, quiet: bool = False) -> None:
    """Compile what is not in the cache: nothing to do after the first time. Raises what training raises."""
    marker = CACHE_FOLDER / f"complete-{_kind(config)}"
    if marker.exists():
        return
    CACHE_FOLDER.mkdir(parents=True, exist_ok=True)
    with open(CACHE_FOLDER / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # goes with the process
        if not marker.exists():
            _compile(config, quiet)
            marker.touch()


def _compile(config: Config, quiet: bool) -> None:
    if not quiet:
        where = CACHE_FOLDER.parent
        print(
            f"compiling kernels: once per machine, about a minute (kept in {where})",
            file=sys.stderr,
            flush=True,
        )
    with tempfile.TemporaryDirectory(prefix="dials-") as folder:
        run = EmbeddedRun("compile", _tiny(config), Path(folder) / "run", resume=False)
        run.start()
        if not run.wait(lambda: None):
            raise TrainingError("compiling the kernels was interrupted")


def _kind(config: Config) -> str:
    """What decides which kernels a run needs."""
    # Without a compiled LS policies and AIPs are called from Python, by kernels of their own.
    local = "stepped" if make_domain(config.domain).local_state((0,), 1) is None else "fused"
    parts = (config.domain["name"], local, config.run.simulator, config.policy.network, config.aip.network)
    return "-".join([*map(str, parts), config.ppo.backend])


def _tiny(config: Config) -> Config:
    """Two updates of one episode and one refresh: every kernel is called, with arrays of the same types."""
    episode = make_domain(config.domain).episode_steps
    return replace(
        config,
        run=replace(config.run, steps=2 * episode),
        aip=replace(config.aip, gs_steps=2 * episode, epochs=1),
        ppo=replace(config.ppo, epochs=1, schedule_steps=0),
        schedule=replace(
            config.schedule,
            refresh_steps=2 * episode,
            eval_steps=2 * episode,
            eval_episodes=1,
            final_eval_episodes=1,
        ),
        rollout=replace(config.rollout, episodes_per_task=1, tasks_per_update=1, max_policy_lag=0),
        runtime=replace(config.runtime, workers=1),
    )
