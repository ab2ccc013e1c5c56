"""Forward pass and gradient of the compiled networks against torch in double precision."""

import numpy as np
import pytest
import torch

from dials_async.networks.layout import GRU, Shape, blocks, make_workspace, n_parameters, split
from dials_async.networks.network import evaluate, evaluate_gradient

from .compiled import forward_on
from .examples import SEQUENCES, SHAPES, STEPS, Example, make_example, torch_outputs

all_shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
recurrent = pytest.mark.parametrize("shape", [s for s in SHAPES.values() if s.kind == GRU])


@all_shapes
def test_outputs_equal_those_of_torch(shape: Shape) -> None:
    example = make_example(shape)
    arguments = (example.indices, example.counts, STEPS, SEQUENCES, example.ws)
    evaluate(shape, example.parameters, *arguments)
    expected, _ = torch_outputs(example)
    ours = example.ws.out[:, : shape.n_out].reshape(STEPS, SEQUENCES, -1)
    assert np.abs(expected.detach().numpy()).max() > 0.5  # else the tolerance would hide an error
    np.testing.assert_allclose(ours, expected.detach().numpy(), atol=1e-5)


@all_shapes
def test_the_gradient_equals_that_of_torch(shape: Shape) -> None:
    # Given a loss whose derivative by every output is known
    example = make_example(shape, seed=1)
    d_out = np.random.default_rng(2).normal(size=(STEPS * SEQUENCES, shape.n_out)).astype(np.float32)
    outputs, theta = torch_outputs(example)
    (outputs.reshape(-1, shape.n_out) * torch.from_numpy(d_out.astype(np.float64))).sum().backward()
    # When both derive it by the parameters
    arguments = (example.indices, example.counts, STEPS, SEQUENCES, example.ws)
    gradient = np.full_like(example.parameters, np.nan)
    evaluate(shape, example.parameters, *arguments)
    example.ws.d_out[:, : shape.n_out] = d_out
    evaluate_gradient(shape, *arguments, gradient)
    # Then every block agrees
    assert theta.grad is not None
    expected = split(shape, theta.grad.numpy())
    for name, ours in split(shape, gradient).items():
        np.testing.assert_allclose(ours, expected[name], rtol=1e-4, atol=2e-5, err_msg=name)
        assert np.abs(expected[name]).max() > 0.05, name


@all_shapes
def test_scratch_of_an_earlier_pass_changes_nothing(shape: Shape) -> None:
    example, other = make_example(shape, seed=3), make_example(shape, seed=4)

    def passes(of: Example) -> tuple[np.ndarray, np.ndarray]:
        arguments = (of.indices, of.counts, STEPS, SEQUENCES, example.ws)
        evaluate(shape, of.parameters, *arguments)
        outputs, gradient = example.ws.out.copy(), np.full_like(of.parameters, np.nan)
        example.ws.d_out[:, : shape.n_out] = np.linspace(-1, 1, shape.n_out)
        evaluate_gradient(shape, *arguments, gradient)
        return outputs, gradient

    clean = passes(example)
    assert not np.array_equal(passes(other)[0], clean[0])
    again = passes(example)
    assert np.array_equal(again[0], clean[0])
    assert np.array_equal(again[1], clean[1])


@recurrent
def test_a_gru_goes_on_from_the_hidden_state_it_is_given(shape: Shape) -> None:
    # Given a sequence that is cut in two, as a rollout and truncated backpropagation do
    example = make_example(shape, seed=5)
    arguments = (STEPS, SEQUENCES, example.ws)
    evaluate(shape, example.parameters, example.indices, example.counts, *arguments)
    whole, hidden = example.ws.out.copy(), example.ws.hidden.copy()
    cut = 2
    rest = make_workspace(shape, (STEPS - cut) * SEQUENCES, SEQUENCES)
    # When the second part starts from the state after the first
    rest.hidden[:SEQUENCES] = hidden[cut * SEQUENCES : (cut + 1) * SEQUENCES]
    indices, counts = example.indices[cut * SEQUENCES :], example.counts[cut * SEQUENCES :]
    forward_on(shape, example.parameters, indices, counts, STEPS - cut, SEQUENCES, rest)
    # Then it is as if it had never been cut
    np.testing.assert_allclose(rest.out, whole[cut * SEQUENCES :], atol=1e-6)


@recurrent
def test_the_hidden_state_before_the_first_step_counts_as_a_constant(shape: Shape) -> None:
    example = make_example(shape, seed=6)
    start = np.random.default_rng(7).uniform(-1, 1, (SEQUENCES, shape.h2)).astype(np.float32)
    arguments = (example.indices, example.counts, STEPS, SEQUENCES, example.ws)
    example.ws.hidden[:SEQUENCES, : shape.h2] = start
    forward_on(shape, example.parameters, *arguments)
    gradient = np.zeros_like(example.parameters)
    d_out = np.ones((STEPS * SEQUENCES, shape.n_out), dtype=np.float32)
    example.ws.d_out[:, : shape.n_out] = d_out
    evaluate_gradient(shape, *arguments, gradient)
    outputs, theta = torch_outputs(example, hidden=start)
    outputs.sum().backward()
    assert theta.grad is not None
    np.testing.assert_allclose(gradient, theta.grad.numpy(), rtol=1e-4, atol=5e-5)


@all_shapes
def test_the_blocks_cover_the_parameters_without_gap_or_overlap(shape: Shape) -> None:
    parameters = np.zeros(n_parameters(shape), dtype=np.float32)
    views = split(shape, parameters)
    assert {name: view.shape for name, view in views.items()} == blocks(shape)
    for view in views.values():
        np.add(view, 1, out=view)
    assert (parameters == 1).all()
