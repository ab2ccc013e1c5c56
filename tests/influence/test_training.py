"""Training of AIPs: on synthetic influence whose best predictor is known, and its gradient against torch."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from dials_async.influence.training import (
    AipResult,
    cross_entropy,
    marginal_cross_entropy,
    train_aip,
)
from dials_async.kernels.bits import pack
from dials_async.learning.ppo_torch import network
from dials_async.networks.initial import initial_parameters
from dials_async.networks.layout import GRU, MLP, Shape, make_workspace, n_parameters
from tests.networks.examples import active_lists

from .compiled import loss_and_gradient

N_BITS, N_SOURCES, N_CLASSES = 6, 2, 3
SHAPES = {
    "gru": Shape(GRU, N_BITS, 0, 16, N_SOURCES * N_CLASSES, 1),
    "mlp": Shape(MLP, N_BITS, 16, 0, N_SOURCES * N_CLASSES, 1),
}
kinds = pytest.mark.parametrize("kind", ["gru", "mlp"])


@dataclass
class Dataset:
    """Random d-sets, and influence that follows from them."""

    bits: np.ndarray  # [episodes, steps, bits]
    influence: np.ndarray  # [episodes, steps, sources]

    @property
    def dsets(self) -> np.ndarray:
        return pack(self.bits)

    def part(self, episodes: slice) -> "Dataset":
        return Dataset(self.bits[episodes], self.influence[episodes])


def make_dataset(delay: int, noise: float = 0.1, episodes: int = 60, steps: int = 20) -> Dataset:
    """Source 0 is told by two bits of ``delay`` steps before, but for ``noise``; source 1 by another one."""
    rng = np.random.default_rng(delay)
    bits = rng.integers(0, 2, (episodes, steps, N_BITS), dtype=np.uint8)
    before = np.zeros_like(bits)
    before[:, delay:] = bits[:, : steps - delay]
    first, second = before[..., 0] + before[..., 1], 2 * before[..., 4]
    influence = np.stack([first, second], axis=-1).astype(np.uint8)
    wrong = np.asarray(rng.random(influence.shape) < noise)
    influence[wrong] = rng.integers(0, N_CLASSES, int(wrong.sum()))
    return Dataset(bits, influence)


def train(kind: str, data: Dataset, **settings: float) -> tuple[AipResult, np.ndarray]:
    """Result and parameters after training from the initial ones."""
    values = {"epochs": 30, "patience": 30, "sequences": 8, "rate": 1e-2, "seed": 5, **settings}
    parameters = initial_parameters(SHAPES[kind], 1, None)
    result = train_aip(
        SHAPES[kind],
        N_CLASSES,
        parameters,
        data.dsets,
        data.influence,
        epochs=int(values["epochs"]),
        patience=int(values["patience"]),
        minibatch_sequences=int(values["sequences"]),
        learning_rate=values["rate"],
        seed=int(values["seed"]),
    )
    return result, parameters


# ---- What is learnt ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "delay"), [("gru", 2), ("gru", 0), ("mlp", 0)])
def test_training_brings_the_held_out_cross_entropy_far_below_that_of_the_frequencies(
    kind: str, delay: int
) -> None:
    result, _ = train(kind, make_dataset(delay))
    assert result.ce_before > 0.95 * result.ce_marginal  # an untrained AIP knows nothing
    assert result.ce_after < 0.7 * result.ce_marginal


def test_a_feed_forward_aip_cannot_learn_what_the_present_does_not_tell() -> None:
    """The control: the history is what made the GRU better."""
    result, _ = train("mlp", make_dataset(delay=2))
    assert result.ce_after > 0.95 * result.ce_marginal


@kinds
def test_training_ends_near_the_entropy_of_the_noise(kind: str) -> None:
    """No predictor can do better: the right class has probability 1 - 0.3 + 0.1.

    1,200 held-out labels measure it with a standard error of 0.024: 0.1 off in 3e-5 of fresh seeds.
    """
    result, _ = train(kind, make_dataset(delay=0, noise=0.3, episodes=300), epochs=20)
    entropy = -(0.8 * math.log(0.8) + 2 * 0.1 * math.log(0.1))
    assert entropy - 0.1 < result.ce_after < entropy + 0.1


@kinds
def test_the_reported_cross_entropies_are_those_on_the_held_out_tenth(kind: str) -> None:
    data = make_dataset(delay=0)
    result, parameters = train(kind, data, epochs=3)
    held = data.part(slice(54, 60))
    before = initial_parameters(SHAPES[kind], 1, None)
    for reported, p in ((result.ce_before, before), (result.ce_after, parameters)):
        measured = cross_entropy(SHAPES[kind], p, N_CLASSES, held.dsets, held.influence)
        assert reported == pytest.approx(measured, rel=1e-6)
    frequencies = marginal_cross_entropy(
        data.influence[:54].reshape(-1, N_SOURCES), held.influence.reshape(-1, N_SOURCES), N_CLASSES
    )
    assert result.ce_marginal == frequencies


@kinds
def test_the_held_out_episodes_are_never_trained_on(kind: str) -> None:
    """Other labels there: the same weights, as long as the best epoch is the same one, here the only one."""
    data = make_dataset(delay=0)
    other = Dataset(data.bits, data.influence.copy())
    other.influence[54:] = make_dataset(delay=0, noise=0.2).influence[54:]
    (first, weights), (second, same_weights) = train(kind, data, epochs=1), train(kind, other, epochs=1)
    assert first.ce_after < first.ce_before
    assert second.ce_after < second.ce_before
    assert first.ce_after != second.ce_after
    assert np.array_equal(weights, same_weights)
    other.influence[53] = 0  # one more, and this one is trained on
    assert not np.array_equal(weights, train(kind, other, epochs=1)[1])


# ---- When it stops, and what it keeps ---------------------------------------------------------------------


@kinds
def test_training_stops_when_nothing_gets_better_and_leaves_the_weights_alone(kind: str) -> None:
    """At an absurd learning rate every epoch is worse than the beginning."""
    data = make_dataset(delay=0, noise=1.0)
    result, parameters = train(kind, data, rate=50.0, patience=4)
    assert result.epochs == 4
    assert result.ce_after == result.ce_before
    assert np.array_equal(parameters, initial_parameters(SHAPES[kind], 1, None))


@kinds
def test_the_best_weights_are_kept_not_the_last_ones(kind: str) -> None:
    """With few episodes training overfits: stopped at its best epoch, it would have been as good."""
    data = make_dataset(delay=0, noise=0.6, episodes=20)
    long, weights = train(kind, data, epochs=40, patience=40)
    ends = [train(kind, data, epochs=k, patience=40) for k in range(1, 41)]
    entropies = [result.ce_after for result, _ in ends]
    assert long.ce_after == min(entropies)
    assert (np.diff(entropies) <= 0).all()  # more epochs never make it worse
    best = entropies.index(min(entropies))
    assert best < 35  # the last epochs brought nothing
    assert np.array_equal(weights, ends[best][1])


@kinds
def test_training_stops_after_as_many_epochs_without_progress_as_patience_says(kind: str) -> None:
    data = make_dataset(delay=0, noise=0.6, episodes=20)
    entropies = [train(kind, data, epochs=k, patience=99)[0].ce_after for k in range(1, 41)]
    for patience in (1, 3):
        result, _ = train(kind, data, epochs=40, patience=patience)
        # The first epoch that ends a row of ``patience`` ones without a better cross-entropy
        history = [result.ce_before, *entropies]
        stalled = [
            k
            for k in range(patience, len(history))
            if history[k - patience] <= min(history[k - patience : k + 1])
        ]
        assert result.epochs == stalled[0] < 40


@kinds
def test_no_more_epochs_than_asked_for(kind: str) -> None:
    result, _ = train(kind, make_dataset(delay=0), epochs=3, patience=99, rate=1e-3)
    assert result.epochs == 3


@kinds
def test_training_is_a_function_of_its_arguments(kind: str) -> None:
    data = make_dataset(delay=0)
    first, again, other = (train(kind, data, epochs=2, seed=seed)[1] for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)  # another order of minibatches


def test_a_last_minibatch_may_be_smaller() -> None:
    """54 episodes in minibatches of 20, 20, 14; and of 1000, more than there are."""
    for sequences in (20, 1000):
        result, _ = train("gru", make_dataset(delay=0), sequences=sequences, epochs=60)
        assert result.ce_after < 0.9 * result.ce_marginal


# ---- Loss and gradient ------------------------------------------------------------------------------------


def torch_loss(shape: Shape, parameters: np.ndarray, data: Dataset) -> tuple[float, np.ndarray]:
    """Mean cross-entropy per source over whole episodes, and its gradient, in double precision."""
    theta = torch.from_numpy(parameters.astype(np.float64)).requires_grad_()
    inputs = torch.from_numpy(data.bits.astype(np.float64)).transpose(0, 1)
    hidden = torch.zeros(inputs.shape[1], shape.h2, dtype=torch.float64)
    logits = network(shape, theta, inputs, hidden)[0].reshape(-1, N_CLASSES)
    labels = torch.from_numpy(data.influence.astype(np.int64)).transpose(0, 1).reshape(-1)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    loss.backward()
    assert theta.grad is not None
    return loss.item(), theta.grad.numpy()


@kinds
def test_the_gradient_of_the_cross_entropy_equals_that_of_torch(kind: str) -> None:
    shape, data = SHAPES[kind], make_dataset(delay=1, episodes=4, steps=7)
    parameters = np.random.default_rng(0).normal(0, 0.5, n_parameters(shape)).astype(np.float32)
    rows = np.arange(28, dtype=np.int32).reshape(4, 7).T.reshape(-1).copy()  # time-major
    indices, counts = active_lists(data.bits.reshape(28, -1)[rows], shape)
    gradient = np.full_like(parameters, np.nan)
    ce = loss_and_gradient(
        shape,
        parameters,
        N_CLASSES,
        indices,
        counts,
        rows,
        7,
        4,
        data.influence.reshape(28, N_SOURCES),
        make_workspace(shape, 28, 4),
        gradient,
    )
    expected, expected_gradient = torch_loss(shape, parameters, data)
    assert ce == pytest.approx(expected, rel=1e-5)
    assert np.abs(expected_gradient).max() > 0.01
    np.testing.assert_allclose(gradient, expected_gradient, atol=2e-6)


@kinds
def test_the_cross_entropy_of_fresh_episodes_equals_that_of_torch(kind: str) -> None:
    data = make_dataset(delay=1)
    parameters = np.random.default_rng(0).normal(0, 0.5, n_parameters(SHAPES[kind])).astype(np.float32)
    expected, _ = torch_loss(SHAPES[kind], parameters, data)
    found = cross_entropy(SHAPES[kind], parameters, N_CLASSES, data.dsets, data.influence)
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_cross_entropy_of_a_predictor_that_knows_nothing_is_that_of_equal_chances() -> None:
    data = make_dataset(delay=0)
    nothing = np.zeros(n_parameters(SHAPES["gru"]), dtype=np.float32)
    found = cross_entropy(SHAPES["gru"], nothing, N_CLASSES, data.dsets, data.influence)
    assert found == pytest.approx(math.log(N_CLASSES), rel=1e-6)


def test_the_marginal_cross_entropy_is_that_of_the_frequencies_with_one_more_of_each_class() -> None:
    train_labels = np.array([[0], [0], [1]], dtype=np.uint8)
    held_out = np.array([[0], [2]], dtype=np.uint8)
    # Counts 2, 1, 0 and one more of each: 3/6, 2/6, 1/6, so that no class is impossible
    expected = -(math.log(3 / 6) + math.log(1 / 6)) / 2
    assert marginal_cross_entropy(train_labels, held_out, 3) == pytest.approx(expected)
