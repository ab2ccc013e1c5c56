"""An episode of all that a domain makes, before kernels are compiled for it: a mistake is found at once.

Also what a run wants only at its end, scripted policies and the drawing, is tried here.
"""

from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.checked import CheckedDomain
from dials_async.report.scene import validate_scene

#: Steps of a simulator in a process of its own, which may be slow; of any other a whole episode.
STEPS = 20


def rehearse(domain: CheckedDomain, with_local: bool) -> None:
    """Step GS, LS (if ``with_local``) and scripted policies, and draw. Raises DomainError, UsageError."""
    rng = np.random.Generator(np.random.PCG64(1))
    beside = domain.global_envs is not None
    steps = min(STEPS, domain.episode_steps) if beside else domain.episode_steps
    n_envs = 1 if beside else 2
    n_actions = domain.n_actions()
    recorder = domain.recorder()
    with closing(domain.make_global(n_envs)) as simulator:
        simulator.reset(_seeds(rng, n_envs))
        recorder.capture(simulator, None)
        for _ in range(steps):
            simulator.observe()
            actions = rng.integers(0, n_actions[:, None], (domain.n_agents, n_envs)).astype(np.uint8)
            recorder.capture(simulator, simulator.step(actions).rewards)
        simulator.observe()
    validate_scene(recorder.scene(), f"domain '{domain.name}', drawing")
    for name in domain.baselines:
        with closing(domain.make_global(1)) as simulator:
            policy = domain.scripted_policy(name, 1)
            simulator.reset(_seeds(rng, 1))
            policy.reset(_seeds(rng, 1))
            simulator.observe()
            simulator.step(policy.act(simulator))
    if with_local and domain.local_state((0,), 1) is None:
        _rehearse_local(domain, rng, steps)


def _rehearse_local(domain: CheckedDomain, rng: np.random.Generator, steps: int) -> None:
    """The LS of the first agent of each kind, under influence of all classes."""
    firsts = {domain.spec(agent): agent for agent in reversed(range(domain.n_agents))}
    for spec, agent in firsts.items():
        with closing(domain.make_local((agent,), 2)) as simulator:
            simulator.reset(_seeds(rng, 1, 2))
            for _ in range(steps):
                simulator.observe()
                actions = rng.integers(0, spec.n_actions, (1, 2)).astype(np.uint8)
                influence = rng.integers(0, spec.n_classes, (1, 2, spec.n_sources)).astype(np.uint8)
                simulator.step(actions, influence)
            simulator.observe()


def _seeds(rng: np.random.Generator, *shape: int) -> NDArray[np.uint64]:
    return rng.integers(0, 1 << 63, shape).astype(np.uint64)
