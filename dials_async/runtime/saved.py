"""Looking at a run that is saved on disk: its newest checkpoint, evaluated anew."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dials_async.config import load_config
from dials_async.domains.checked import CheckedDomain
from dials_async.domains.registry import make_domain
from dials_async.errors import CheckpointError, ConfigError
from dials_async.evaluation.evaluate import evaluate_both, summarise
from dials_async.groups import make_groups
from dials_async.kernels.ordered import mean
from dials_async.metrics.phases import PhaseTimer
from dials_async.rollout.joint import run_scripted
from dials_async.run_folder import CHECKPOINTS, CONFIG, read_config
from dials_async.runtime.machine import cores
from dials_async.runtime.wiring import fingerprint_of
from dials_async.store.checkpoint import load_checkpoint


def evaluate_run(
    folder: Path, policy: str, episodes: int | None, seed: int, settings: Sequence[str] = ()
) -> dict[str, Any]:
    """Returns of a run's newest policies, sampled and greedy, or of a scripted policy, on fresh episodes.

    ``settings`` ("domain.key=value") change the domain. Raises ConfigError for an unknown policy or setting,
    CheckpointError if there is nothing to evaluate.
    """
    config = read_config(folder)
    domain = _changed(make_domain(config.domain), folder, settings)
    n = episodes or config.schedule.final_eval_episodes
    if policy != "trained":
        with ThreadPoolExecutor(cores()) as pool:
            result = summarise(run_scripted(domain, policy, n, seed, pool))
        row = {"mean": result.mean, "se": result.standard_error}
        returns = {policy: row}
        return {"episodes": n, "seed": seed, "steps": None, "returns": returns, "influence_ce": None}
    snapshot = load_checkpoint(folder / CHECKPOINTS, fingerprint_of(config)).snapshot
    groups = make_groups(config, domain)
    if len(snapshot.groups) != len(groups):
        raise CheckpointError(
            f"the checkpoint of {folder.name} holds {len(snapshot.groups)} of {len(groups)} groups"
        )
    steps = min(snapshot.groups[group.index].state.steps_per_agent for group in groups)
    weights = [snapshot.groups[group.index].state.arrays["weights"] for group in groups]
    aips = None
    if config.run.simulator != "gs" and snapshot.aips:
        aips = [snapshot.aips[-1].arrays[f"g{group.index}"] for group in groups]
    with ThreadPoolExecutor(cores()) as pool:
        sampled, greedy, ce = evaluate_both(domain, groups, weights, n, seed, 0, aips, pool, PhaseTimer())
    kinds = {"sampled": sampled, "greedy": greedy}
    return {
        "episodes": n,
        "seed": seed,
        "steps": steps,
        "returns": {kind: {"mean": r.mean, "se": r.standard_error} for kind, r in kinds.items()},
        "influence_ce": None if ce is None else mean(ce),
    }


def _changed(domain: CheckedDomain, folder: Path, settings: Sequence[str]) -> CheckedDomain:
    """The domain of the run in ``folder`` under ``settings``: the same agents, otherwise simulated."""
    if not settings:
        return domain
    others = [text for text in settings if not text.strip().startswith("domain.")]
    if others:
        raise ConfigError(f"--set {others[0]}: of a finished run only the domain can be changed")
    changed = make_domain(load_config(str(folder / CONFIG), settings).domain)
    if changed.n_agents != domain.n_agents:
        raise ConfigError(
            f"--set: the run has {domain.n_agents} agents, the changed domain {changed.n_agents}"
        )
    if any(changed.spec(agent) != domain.spec(agent) for agent in range(domain.n_agents)):
        raise ConfigError("--set: the run's agents do not fit the changed domain")
    return changed
