"""What this process computes, as hashes of a few probes.

So a processor, compiler, library, kernel or reward that differs shows as what it is: another result. Probed
are the run's own domain (local simulator, rewards, an episode of the GS), networks and update, over an
episode or two. Each role computes only the parts that it needs.
"""

import hashlib
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dials_async.groups import Group
from dials_async.influence.training import train_aip
from dials_async.learning.backends import update_of
from dials_async.learning.scratch import make_scratch
from dials_async.learning.settings import HEALTH, make_settings
from dials_async.rollout.ials import Episodes, IalsRollout
from dials_async.rollout.joint import run_joint
from dials_async.run_context import RunContext
from dials_async.runtime.machine import code_version, machine

#: The parts of the arithmetic of a run.
PARTS = ("rollout", "update", "aip", "gs")

#: Episodes of a probe: the fewest that an AIP can train on.
_EPISODES = 2

#: Seed of all probes: they are the same in every run.
_SEED = 20_260_101


def parts_of(role: str, simulation: str) -> tuple[str, ...]:
    """What a process of ``role`` computes; ``simulation`` is the part that makes experience."""
    return {
        "rollout": (simulation,),
        "learner": ("update",),
        "gs-sampler": ("gs", "aip") if simulation == "rollout" else (),
        "evaluator": ("gs",),
    }.get(role, ())


def join_run(context: RunContext, role: str, parts: Iterable[str], allow_others: bool) -> list[str]:
    """Compute ``parts`` and enter this process among the participants of the run.

    Returns what the user should know. Raises NumericsError if it computes otherwise than the run.
    """
    context.numerics = numerics(context, parts)
    facts = {
        "code": code_version(),
        "processor": machine()["cpu"],
        "role": role,
        "host": socket.gethostname(),
    }
    context.participants.join(context.numerics, facts, allow_others)
    return list(filter(None, [context.participants.not_reproducible()]))


def numerics(context: RunContext, parts: Iterable[str]) -> dict[str, str]:
    """The hash of each of ``parts``, 16 hexadecimal digits."""
    wanted = set(parts)
    # Of groups whose agents are alike the first is enough to learn from.
    firsts = list({group.spec: group for group in reversed(context.groups)}.values())
    probes: dict[str, Callable[[], list[NDArray[Any]]]] = {
        "rollout": lambda: [array for group in context.groups for array in _rollout(context, group)],
        "update": lambda: [array for group in firsts for array in _update(context, group)],
        "aip": lambda: [array for group in firsts for array in _aip(context, group)],
        "gs": lambda: _gs(context),
    }
    return {part: _hash(probes[part]()) for part in PARTS if part in wanted}


def _made_up(context: RunContext, group: Group) -> Episodes:
    """Episodes of the group's first agent, without a simulator: who only learns answers for that only."""
    spec, steps = group.spec, context.domain.episode_steps
    rng = np.random.Generator(np.random.PCG64(_SEED))  # its integers are the same in every version of NumPy
    size = (1, _EPISODES, steps)
    bits = np.zeros((1, _EPISODES, steps + 1, spec.observation_bits), dtype=np.uint8)
    bits[..., : spec.dset_bits] = rng.integers(0, 4, (*bits.shape[:3], spec.dset_bits)) == 0
    ladders = bits[..., spec.dset_bits :].reshape(*bits.shape[:3], -1, spec.ladder_steps)
    amounts = rng.integers(0, spec.ladder_steps + 1, (*ladders.shape[:4], 1))
    bits[..., spec.dset_bits :] = (np.arange(spec.ladder_steps) < amounts).reshape(*bits.shape[:3], -1)
    return Episodes(
        observations=np.packbits(bits, axis=-1, bitorder="little"),
        actions=rng.integers(0, spec.n_actions, size).astype(np.uint8),
        rewards=(rng.integers(0, 256, size) / 256).astype(np.float32),
        log_probs=(-rng.integers(1, 512, size) / 256).astype(np.float32),
    )


def _rollout(context: RunContext, group: Group) -> Episodes:
    rollout = IalsRollout(context.domain, group, _EPISODES, _SEED)
    try:
        return rollout.run(group.actors(group.initial_weights(_SEED)), group.initial_aips(_SEED), 0, 0)
    finally:
        rollout.close()


def _update(context: RunContext, group: Group) -> list[NDArray[Any]]:
    """One update of the group's first agent: weights and moments."""
    episodes = _made_up(context, group)
    settings = make_settings(context.config, group)._replace(epochs=1)
    scratch = make_scratch(group.actor, group.critic, settings, _EPISODES, context.domain.episode_steps)
    weights = group.initial_weights(_SEED)[0]
    m, v, health = np.zeros_like(weights), np.zeros_like(weights), np.zeros(len(HEALTH))
    update_of(context.config.ppo.backend)(
        group.actor,
        group.critic,
        group.n_actor,
        weights,
        m,
        v,
        0,
        episodes.observations[0],
        episodes.actions[0],
        episodes.rewards[0],
        episodes.log_probs[0],
        np.zeros(_EPISODES, dtype=np.uint8),
        False,
        settings,
        context.config.ppo.learning_rate,
        np.uint64(_SEED),
        scratch,
        health,
    )
    return [weights, m, v]


def _aip(context: RunContext, group: Group) -> list[NDArray[Any]]:
    """The AIP of the group's first agent, trained on d-sets and influence that are made up."""
    aip, spec, episodes = context.config.aip, group.spec, _made_up(context, group)
    parameters = group.initial_aips(_SEED)[0]
    dsets = group.dsets(episodes.observations[0])
    made_up = np.arange(dsets.shape[0] * dsets.shape[1] * spec.n_sources) // 3 % spec.n_classes
    result = train_aip(
        group.aip,
        spec.n_classes,
        parameters,
        dsets,
        made_up.astype(np.uint8).reshape(*dsets.shape[:2], spec.n_sources),
        epochs=1,
        patience=aip.patience,
        minibatch_sequences=aip.minibatch_sequences,
        learning_rate=aip.learning_rate,
        seed=_SEED,
    )
    return [parameters, np.array([result.ce_before, result.ce_after, result.ce_marginal])]


def _gs(context: RunContext) -> list[NDArray[Any]]:
    actors = [group.actors(group.initial_weights(_SEED)) for group in context.groups]
    joint = run_joint(context.domain, context.groups, actors, 1, _SEED, "numerics")
    return [*(array for episodes in joint.by_group for array in episodes), *joint.influence]


def _hash(arrays: Sequence[NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
