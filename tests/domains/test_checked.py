"""Mistakes of a domain are one line that says where, before they reach a kernel or a network."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
import pytest

from dials_async.domains.base import AgentSpec, GlobalStep
from dials_async.domains.checked import EVERY, FIRST, CheckedDomain
from dials_async.domains.local import compiled_local
from dials_async.domains.registry import make_domain
from dials_async.errors import ConfigError, DomainError, TrainingError
from dials_async.report.scene import validate_scene
from dials_async.rollout.joint import run_scripted
from dials_async.runtime.rehearsal import rehearse
from tests.domains.faulty import SPEC, STEPS, Faulty, Global, Local

Wrong = Callable[[Any], Any]
N_ENVS = 4
SEEDS = np.arange(N_ENVS, dtype=np.uint64)


def run_global(domain: CheckedDomain) -> None:
    """An episode of the GS."""
    actions = np.zeros((3, N_ENVS), dtype=np.uint8)
    with closing(domain.make_global(N_ENVS)) as simulator:
        simulator.reset(SEEDS)
        for _ in range(STEPS):
            simulator.observe()
            simulator.step(actions)
        simulator.observe()


def run_local(domain: CheckedDomain) -> None:
    """An episode of the LS of the agents 2 and 1."""
    with closing(domain.make_local((2, 1), N_ENVS)) as simulator:
        simulator.reset(np.stack([SEEDS, SEEDS]))
        for _ in range(STEPS):
            simulator.observe()
            simulator.step(np.zeros((2, N_ENVS), np.uint8), np.zeros((2, N_ENVS, 2), np.uint8))
        simulator.observe()


def run_policy(domain: CheckedDomain) -> None:
    run_scripted(domain, "script", N_ENVS, 0)


def at(row: int, value: Any) -> Wrong:
    """Puts ``value`` into the first episode of the agent in ``row``."""

    def change(array: np.ndarray) -> np.ndarray:
        changed = array.copy()
        changed[row, 0] = value
        return changed

    return change


def test_a_right_domain_passes() -> None:
    domain = CheckedDomain(Faulty())
    rehearse(domain, with_local=True)
    for run in (run_global, run_local, run_policy):
        run(domain)


NON_CONTIGUOUS: Wrong = np.asfortranarray

ARRAYS: list[tuple[str, Wrong, str]] = [
    ("observations", lambda a: a.astype(np.float64), "expected uint8, got float64"),
    ("observations", lambda a: a.astype(np.int64), "expected uint8, got int64"),
    ("observations", lambda a: a.tolist(), "expected a NumPy array, got list"),
    ("observations", lambda a: a[..., :1], r"expected the shape \({n}, 4, 2\) \[agents, envs, bytes\], got"),
    ("observations", lambda a: np.moveaxis(a, 0, 1).copy(), r"expected the shape \({n}, 4, 2\)"),
    ("observations", NON_CONTIGUOUS, "expected a C-contiguous array"),
    ("rewards", lambda a: a.astype(np.float64), "expected float32, got float64"),
    ("rewards", lambda a: a.astype(">f4"), "expected float32, got >f4"),
    ("rewards", lambda a: a[:, 0], r"expected the shape \({n}, 4\) \[agents, envs\], got \({n},\)"),
    ("rewards", NON_CONTIGUOUS, "expected a C-contiguous array"),
    ("rewards", lambda _: None, "expected a NumPy array, got NoneType"),
]


@pytest.mark.parametrize(("field", "wrong", "message"), ARRAYS)
@pytest.mark.parametrize(("simulator", "run", "n"), [("GS", run_global, 3), ("LS", run_local, 2)])
def test_arrays_of_another_kind_are_refused(
    simulator: str, run: Callable[[CheckedDomain], None], n: int, field: str, wrong: Wrong, message: str
) -> None:
    where = f"^domain 'faulty', {simulator}, step 2: {field}: "
    with pytest.raises(DomainError, match=where + message.replace("{n}", str(n))):
        run(CheckedDomain(Faulty(**{field: wrong})))


@pytest.mark.parametrize(
    ("field", "wrong", "message"),
    [
        ("observations", at(1, [0, 0b1000]), "a bit behind the last of 11 is set"),
        ("observations", at(1, [0b0001_0000, 0]), "in a ladder of 4 steps a bit is set, and the one before"),
        ("rewards", at(1, np.nan), "nan is not a finite number"),
        ("rewards", at(1, -np.inf), "-inf is not a finite number"),
        ("rewards", at(1, -2), "-2 is beyond 1, the domain's largest_reward"),
        ("rewards", at(1, np.float32(1.000001)), "1 is beyond 1, the domain's largest_reward"),
    ],
)
@pytest.mark.parametrize(("simulator", "run", "agent"), [("GS", run_global, 1), ("LS", run_local, 1)])
def test_values_out_of_range_name_their_agent(
    simulator: str, run: Callable[[CheckedDomain], None], agent: int, field: str, wrong: Wrong, message: str
) -> None:
    with pytest.raises(
        DomainError, match=f"^domain 'faulty', {simulator}, agent {agent}, step 2: {field}: {message}"
    ):
        run(CheckedDomain(Faulty(**{field: wrong})))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (at(2, [7, 200]), "agent 2, step 2: influence: source 1 has class 200, expected 0 to 7"),
        (at(0, [8, 0]), "agent 0, step 2: influence: source 0 has class 8, expected 0 to 7"),
        (lambda a: a.astype(np.float32), "step 2: influence: expected uint8, got float32"),
        (lambda a: a.astype(np.int64), "step 2: influence: expected uint8, got int64"),
        (lambda a: a[..., :1].copy(), r"step 2: influence: expected the shape \(3, 4, 2\)"),
        (lambda a: a[..., 0], r"step 2: influence: expected the shape \(3, 4, 2\)"),
        (NON_CONTIGUOUS, "step 2: influence: expected a C-contiguous array"),
    ],
)
def test_influence_never_becomes_a_wrong_index(wrong: Wrong, message: str) -> None:
    with pytest.raises(DomainError, match=f"^domain 'faulty', GS, {message}"):
        run_global(CheckedDomain(Faulty(influence=wrong)))


def test_ranges_that_become_indices_are_checked_in_every_episode() -> None:
    # Given a domain that was right for a long time
    own = Faulty()
    domain = CheckedDomain(own)
    for _ in range(FIRST + 2):
        run_global(domain)
    # When it is wrong, then it is found at once; what only makes no sense, after a while at the latest
    own.wrong = {"influence": at(0, 200)}
    with pytest.raises(DomainError, match="class 200"):
        run_global(domain)
    own.wrong = {"observations": at(0, [0, 0b1000])}
    run_global(domain)

    def run_for_a_while() -> None:
        for _ in range(EVERY):
            run_global(domain)

    with pytest.raises(DomainError, match="a bit behind the last"):
        run_for_a_while()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (at(2, 3), "agent 2, step 2: actions: 3, expected 0 to 2"),
        (lambda a: a.astype(np.int64), "step 2: actions: expected uint8, got int64"),
        (lambda a: a[0], r"step 2: actions: expected the shape \(3, 4\)"),
    ],
)
def test_actions_of_scripted_policies_are_checked(wrong: Wrong, message: str) -> None:
    with pytest.raises(DomainError, match=f"^domain 'faulty', scripted policy 'script', {message}"):
        run_policy(CheckedDomain(Faulty(actions=wrong)))


def test_a_step_returns_rewards_and_influence() -> None:
    with pytest.raises(
        DomainError, match=r"GS, step 2: step: expected GlobalStep\(rewards, influence\), got ndarray"
    ):
        run_global(CheckedDomain(Faulty(step=lambda result: result.rewards)))
    run_global(CheckedDomain(Faulty(step=tuple)))


def test_an_ls_without_close_is_refused_when_it_is_made() -> None:
    class Unfinished:
        reset, observe, step = Local.reset, Local.observe, Local.step

    class NoClose(Faulty):
        def make_local(self, agents: Sequence[int], n_envs: int) -> Any:  # noqa: ARG002
            return Unfinished()

    message = (
        "^domain 'faulty', LS: Unfinished: has no method close: write it, or inherit from .*LocalSimulator$"
    )
    with pytest.raises(DomainError, match=message):
        CheckedDomain(NoClose()).make_local((0,), 1)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("n_agents", 0, "n_agents = 0: must be a whole number from 1"),
        ("n_agents", np.int64(3), "n_agents = .*3.*: must be a whole number"),
        ("episode_steps", 2.5, "episode_steps = 2.5: must be a whole number"),
        ("global_envs", 0, "global_envs = 0: must be a whole number from 1, or None"),
        ("largest_reward", float("nan"), "largest_reward = nan: must be a number above 0"),
        ("largest_reward", 1e39, "largest_reward = 1e.39: must be a number above 0, at most 3.4e.38"),
        ("baselines", "script", "baselines = 'script': must be a list or tuple of names"),
        ("published", {"DIALS": "high"}, "published = .*: must be a dictionary of numbers by name"),
    ],
)
def test_what_a_domain_announces_is_checked_once(
    field: str, value: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Faulty, field, value)
    with pytest.raises(ConfigError, match=f"^domain 'faulty': {message}"):
        CheckedDomain(Faulty())


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"n_classes": 300}, "a source has 1 to 256 classes"),
        ({"n_sources": 0}, "an agent has at least one influence source"),
        ({"n_actions": 257}, "an agent has 1 to 256 actions"),
        ({"dset_bits": 12}, "the d-set is the first bits of an observation"),
        ({"ladder_steps": 3}, "ladders fill the rest of the bits"),
        ({"n_actions": np.int64(3)}, "n_actions = .*3.* must be an int"),
        ({"n_sources": True}, "n_sources = True must be an int"),
    ],
)
def test_impossible_sizes_name_domain_and_agent(
    sizes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {name: getattr(SPEC, name) for name in SPEC.__dataclass_fields__} | sizes
    monkeypatch.setattr(Faulty, "spec", lambda _self, agent: AgentSpec(**fields) if agent == 1 else SPEC)
    with pytest.raises(ConfigError, match=f"^domain 'faulty', agent 1: AgentSpec.*{message}"):
        CheckedDomain(Faulty())


def test_what_is_too_much_for_a_smaller_agent_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given two sizes of agents, and a GS as wide as the larger one
    small = AgentSpec(observation_bits=3, dset_bits=3, n_actions=2, n_sources=1, n_classes=4)
    monkeypatch.setattr(Faulty, "spec", lambda _self, agent: small if agent == 1 else SPEC)
    with pytest.raises(
        DomainError, match=r"agent 1, step 0: influence: source 0 has class 7, expected 0 to 3"
    ):
        run_global(CheckedDomain(Faulty()))
    # Then only its own sources count
    influence = np.full((3, N_ENVS, 2), 7, dtype=np.uint8)
    influence[1, :, 0] = 3
    monkeypatch.setattr(Global, "step", lambda self, _actions: GlobalStep(self.rewards(), influence))
    run_global(CheckedDomain(Faulty()))


class State(NamedTuple):
    level: np.ndarray
    table: np.ndarray


class Unknown(NamedTuple):
    level: np.ndarray


compiled_local(State, lambda: None, lambda: None, lambda: None)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            State(np.zeros(3), np.zeros((1, 5))),
            r"level: expected 12 rows \(3 agents x 4 episodes\), or 1 .*\(3,\)",
        ),
        (State(np.zeros(12), np.zeros((5, 2))), "table: expected 12 rows"),
        (State(np.zeros((2, 12)).T, np.zeros(1)), "level: expected a C-contiguous NumPy array of numbers"),
        (State(np.zeros(12), 0.5), "table: expected a C-contiguous NumPy array of numbers"),  # type: ignore[arg-type]
        (Unknown(np.zeros(12)), "Unknown: has no functions: register them"),
        ({"level": np.zeros(12)}, "dict: has no functions: register them"),
    ],
)
def test_a_state_with_too_few_rows_is_refused(
    state: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Faulty, "local_state", lambda *_: state)
    with pytest.raises(DomainError, match=f"^domain 'faulty', local_state: {message}"):
        CheckedDomain(Faulty()).local_state(range(3), N_ENVS)


@pytest.mark.parametrize(
    ("rewards", "bits", "message"),
    [
        (np.nan, 0, "agent 7, step 2: rewards: nan is not a finite number"),
        (1.5, 0, "agent 7, step 2: rewards: 1.5 is beyond 1, the domain's largest_reward"),
        (1.0, 0b1000, "agent 7, step 2: observations: a bit behind the last of 11 is set"),
        (1.0, 0b0100, "agent 7, step 2: observations: in a ladder of 4 steps a bit is set"),
    ],
)
def test_what_a_compiled_ls_wrote_is_checked(
    rewards: float, bits: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Faulty, "n_agents", 9)
    observed, paid = np.zeros((2, 4, 6, 2), dtype=np.uint8), np.zeros((2, 4, 5), dtype=np.float32)
    observed[1, 3, 2, 1], paid[1, 3, 2] = bits, rewards
    with pytest.raises(DomainError, match=f"^domain 'faulty', LS, {message}"):
        CheckedDomain(Faulty()).check_rollout((4, 7), observed, paid)


def test_an_error_in_a_domains_code_says_where() -> None:
    def divide(_: Any) -> Any:
        return np.linalg.inv(np.zeros((2, 2)))  # fails inside of NumPy

    where = f"{__file__}:{divide.__code__.co_firstlineno + 1}"
    with pytest.raises(DomainError) as caught:
        run_global(CheckedDomain(Faulty(influence=divide)))
    assert str(caught.value) == f"domain 'faulty', GS, step 2: LinAlgError: Singular matrix ({where})"
    assert isinstance(caught.value.__cause__, np.linalg.LinAlgError)
    assert issubclass(DomainError, TrainingError)


def test_a_domain_need_not_write_what_has_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("largest_reward", "baselines"):
        monkeypatch.delattr(Faulty, name)
    domain = CheckedDomain(Faulty())
    rehearse(domain, with_local=True)
    assert (domain.largest_reward, domain.baselines, domain.global_envs) == (1e6, (), None)
    with pytest.raises(ConfigError, match="no scripted policy 'best' in the domain 'faulty'; it has none"):
        domain.scripted_policy("best", 1)
    monkeypatch.setattr(Faulty, "baselines", ["script", "random"])
    with pytest.raises(ConfigError, match=r"no scripted policy 'best' .*; there are script, random"):
        CheckedDomain(Faulty()).scripted_policy("best", 1)
    monkeypatch.delattr(Faulty, "make_local")
    with pytest.raises(ConfigError, match="the domain 'faulty' has no LS"):
        CheckedDomain(Faulty()).make_local((0,), 1)


def test_the_default_drawing_shows_rewards() -> None:
    recorder = CheckedDomain(Faulty()).recorder()
    with closing(CheckedDomain(Faulty()).make_global(1)) as simulator:
        recorder.capture(simulator, None)
        for reward in (0.0, 0.5, 1.0):
            recorder.capture(simulator, np.array([[reward], [0.0], [1.0]], dtype=np.float32))
    scene = validate_scene(recorder.scene())
    values = [[mark[3] for mark in frame["marks"]] for frame in scene["frames"]]
    assert values == [[], [0.0, 0.0, 1.0], [0.5, 0.0, 1.0], [1.0, 0.0, 1.0]]


def test_a_domain_that_is_found_by_name_is_checked() -> None:
    assert isinstance(make_domain({"name": "warehouse"}), CheckedDomain)
