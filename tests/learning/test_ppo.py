"""The compiled PPO update against the one in torch, and the objective sample by sample."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from dials_async.learning import ppo, ppo_torch
from dials_async.learning.objective import MAX_IMPORTANCE_WEIGHT
from dials_async.learning.scratch import Scratch

from .batches import Problem, goals, log_policy, make_problem, outputs, taken_log_probs, update

kinds = pytest.mark.parametrize("kind", ["mlp", "gru"])
lags = pytest.mark.parametrize("lagged", [False, True], ids=["lag0", "lagged"])


def everything_at_once(problem: Problem) -> Problem:
    """One epoch of one minibatch, for a GRU of whole episodes: ``scratch.gradient`` is all of it."""
    episodes, steps = problem.actions.shape
    length = steps if problem.settings.sequence_steps > 1 else 1
    return problem.with_settings(epochs=1, minibatch_steps=episodes * steps, sequence_steps=length)


def theta_of(problem: Problem) -> torch.Tensor:
    return torch.from_numpy(problem.parameters.astype(np.float64)).requires_grad_()


# ---- Against torch ----------------------------------------------------------------------------------------


@kinds
@lags
@pytest.mark.parametrize(
    "minibatch_steps",
    [1000, 16, 12, 3],
    ids=["one-minibatch", "a-shorter-last-one", "another", "smaller-than-a-sequence"],
)
def test_an_update_equals_that_of_torch(kind: str, lagged: bool, minibatch_steps: int) -> None:
    """33 steps; a GRU's episodes of 11 steps are cut into sequences of 4, 4 and 3."""
    problem = make_problem(kind, lagged).with_settings(minibatch_steps=minibatch_steps)
    ours, theirs = update(ppo.update_agent, problem), update(ppo_torch.update_agent, problem)
    assert ours.steps == theirs.steps > 7
    np.testing.assert_allclose(ours.parameters, theirs.parameters, atol=2e-5)
    np.testing.assert_allclose(ours.m, theirs.m, atol=2e-5)
    np.testing.assert_allclose(ours.v, theirs.v, atol=2e-5)
    assert ours.health["policy_loss"] == pytest.approx(theirs.health["policy_loss"], abs=1e-4)
    assert np.abs(ours.parameters - problem.parameters).max() > 5e-3  # something was learnt


@lags
def test_many_updates_in_a_row_stay_together(lagged: bool) -> None:
    problem = make_problem("mlp", lagged, episodes=4, steps=25).with_settings(epochs=10)
    ours, theirs = update(ppo.update_agent, problem), update(ppo_torch.update_agent, problem)
    np.testing.assert_allclose(ours.parameters, theirs.parameters, atol=2e-3)
    assert np.abs(ours.parameters - problem.parameters).max() > 0.05


@kinds
def test_experience_of_the_present_policy_gives_the_same_update_with_and_without_correction(
    kind: str,
) -> None:
    """At lag 0 the ratio is defined as 1; computed, it is 1 within rounding."""
    problem = make_problem(kind)
    plain = update(ppo.update_agent, problem)
    corrected = update(ppo.update_agent, Problem(**{**vars(problem), "lagged": True}))
    np.testing.assert_allclose(plain.parameters, corrected.parameters, atol=2e-5)


def test_lagged_experience_is_weighed_by_its_ratio() -> None:
    """The control of the tests above: without the correction the same experience teaches something else."""
    problem = make_problem("mlp", lagged=True)
    corrected = update(ppo.update_agent, problem)
    assert (corrected.scratch.ratios > MAX_IMPORTANCE_WEIGHT).any()
    assert (corrected.scratch.ratios < 1).any()
    plain = update(ppo.update_agent, Problem(**{**vars(problem), "lagged": False}))
    assert np.abs(corrected.parameters - plain.parameters).max() > 1e-3


@kinds
def test_an_update_is_a_function_of_its_arguments(kind: str) -> None:
    problem, other = make_problem(kind), make_problem(kind, seed=5)
    first = update(ppo.update_agent, problem)
    update(ppo.update_agent, other)
    again = update(ppo.update_agent, problem)
    assert np.array_equal(first.parameters, again.parameters)
    assert first.health == again.health
    another_order = update(ppo.update_agent, problem, seed=4)
    assert not np.array_equal(first.parameters, another_order.parameters)


@kinds
def test_scratch_of_another_agent_changes_nothing(kind: str) -> None:
    """A learner reuses it for agent after agent."""
    problem, other = make_problem(kind), make_problem(kind, seed=5)
    clean = update(ppo.update_agent, problem)
    used = update(ppo.update_agent, other).scratch
    again = update(ppo.update_agent, _Reusing(**vars(problem), used=used))
    assert np.array_equal(clean.parameters, again.parameters)


@dataclass(frozen=True)
class _Reusing(Problem):
    """A problem that is learnt with the scratch of another."""

    used: Scratch

    def scratch(self) -> Scratch:
        return self.used


@pytest.mark.parametrize("clip", [0.05, 0.2])
def test_the_size_of_a_step_is_bounded_by_the_gradient_norm(clip: float) -> None:
    problem = everything_at_once(make_problem("mlp")).with_settings(max_gradient_norm=1e-3, clip=clip)
    reference = everything_at_once(make_problem("mlp")).with_settings(max_gradient_norm=1e9, clip=clip)
    small, large = update(ppo.update_agent, problem), update(ppo.update_agent, reference)
    norm = large.health["gradient_norm"]
    assert small.health["gradient_norm"] == norm > 0.01  # reported before clipping
    rng = np.random.default_rng(99)
    m = 0.9 * rng.normal(0, 0.01, len(small.m))
    np.testing.assert_allclose(small.m - m, (large.m - m) * 1e-3 / norm, atol=1e-8)


# ---- The objective, sample by sample ----------------------------------------------------------------------


@kinds
def test_no_gradient_inside_the_clip_range_is_dropped(kind: str) -> None:
    """A regression: which samples are clipped was decided by comparing a float32 with a float64 product.

    Inside the range the two are equal but for rounding, so that gradients were dropped at random, half of
    them. With every ratio inside the range, the gradient is that of the objective without any clipping.
    """
    # Given experience whose ratios all lie within 1 +- 0.1 and are not 1, and a clip range of 0.2
    problem = everything_at_once(make_problem(kind, episodes=20, steps=25, shift=0.09))
    # When one step is made on all of it
    done = update(ppo.update_agent, problem)
    # Then no sample counts as clipped
    assert done.health["clip_fraction"] == 0
    # And the actor's gradient is that of -mean(ratio * advantage) - entropy bonus
    theta = theta_of(problem)
    _, advantages = goals(problem, theta.detach())
    log_p = log_policy(problem, theta)
    behaviour = torch.from_numpy(problem.log_probs.astype(np.float64))
    ratio = torch.exp(taken_log_probs(problem, theta) - behaviour)
    assert (ratio - 1).abs().max() < 0.1
    assert (ratio - 1).abs().mean() > 0.02
    entropy = -(log_p.exp() * log_p).sum(-1).mean()
    (-(ratio * advantages).mean() - problem.settings.entropy * entropy).backward()
    assert theta.grad is not None
    n = problem.n_actor
    np.testing.assert_allclose(done.scratch.gradient[:n], theta.grad.numpy()[:n], atol=2e-6)


@kinds
def test_gradients_outside_the_clip_range_are_dropped_where_they_would_lead_further_out(kind: str) -> None:
    problem = everything_at_once(make_problem(kind, episodes=20, steps=25, shift=0.6))
    done = update(ppo.update_agent, problem)
    theta = theta_of(problem)
    targets, advantages = goals(problem, theta.detach())
    behaviour = torch.from_numpy(problem.log_probs.astype(np.float64))
    ratio = torch.exp(taken_log_probs(problem, theta) - behaviour)
    outside = ((ratio > 1.2) | (ratio < 0.8)).double().mean().item()
    # Which samples still count, written down case by case
    counts = torch.where(advantages > 0, ratio <= 1.2, ratio >= 0.8)
    assert 0.1 < 1 - counts.double().mean().item() < outside
    log_p = log_policy(problem, theta)
    entropy = -(log_p.exp() * log_p).sum(-1).mean()
    values = outputs(problem.critic, theta[problem.n_actor :], problem)[:, :-1].squeeze(-1)
    gain = (ratio * advantages * counts).sum() / ratio.numel()
    value_loss = 0.5 * ((values - targets) ** 2).mean()
    loss = -gain - problem.settings.entropy * entropy + problem.settings.value_coefficient * value_loss
    loss.backward()
    assert theta.grad is not None
    np.testing.assert_allclose(done.scratch.gradient, theta.grad.numpy(), atol=5e-6)
    # And the numbers that are reported are those of this minibatch
    clipped = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
    assert done.health["policy_loss"] == pytest.approx(-clipped.mean().item(), abs=1e-5)
    assert done.health["value_loss"] == pytest.approx(value_loss.item(), rel=1e-5)
    assert done.health["entropy"] == pytest.approx(entropy.item(), rel=1e-5)
    assert done.health["clip_fraction"] == pytest.approx(outside, abs=1e-3)
    kl = (ratio - 1 - torch.log(ratio)).mean().item()
    assert done.health["approximate_kl"] == pytest.approx(kl, abs=1e-5)
    explained = 1 - ((targets - values).var() / targets.var()).item()
    assert done.health["explained_variance"] == pytest.approx(explained, abs=1e-3)


def test_the_last_sequence_of_an_episode_may_be_shorter_without_a_trace_of_the_next_episode() -> None:
    """11 steps in sequences of 4: the twelfth sample of each episode must weigh nothing."""
    problem = make_problem("gru").with_settings(minibatch_steps=1000, epochs=1)
    changed = problem.observations.copy()
    changed[:, -1] ^= 0b101  # the last observation serves the bootstrap alone
    episodes_end = Problem(**{**vars(problem), "terminated": np.ones(3, np.uint8)})
    other = Problem(**{**vars(episodes_end), "observations": changed})
    first, second = update(ppo.update_agent, episodes_end), update(ppo.update_agent, other)
    assert np.array_equal(first.parameters, second.parameters)


def test_more_epochs_on_good_actions_make_them_likelier() -> None:
    problem = make_problem("mlp", episodes=8, steps=25)
    good = (problem.actions == 2).astype(np.float32)
    paid = Problem(**{**vars(problem), "rewards": good}).with_settings(epochs=10, lam=0.0, gamma=0.0)
    done = update(ppo.update_agent, paid)
    before, after = (
        log_policy(problem, torch.from_numpy(p.astype(np.float64))).exp()[..., 2].mean().item()
        for p in (problem.parameters, done.parameters)
    )
    assert after > before + 0.1
