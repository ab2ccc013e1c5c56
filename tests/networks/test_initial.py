"""Initial parameters: orthogonal layers, repeatable, and no matter how agents are grouped."""

import numpy as np
import pytest

from dials_async.config import load_config
from dials_async.domains.registry import make_domain
from dials_async.groups import make_groups
from dials_async.networks.initial import initial_parameters
from dials_async.networks.layout import GRU, MLP, Shape, split

SHAPES = [Shape(MLP, 37, 24, 16, 4, 1), Shape(MLP, 37, 64, 0, 4, 1), Shape(GRU, 37, 20, 16, 4, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("last_gain", [0.01, 1.0])
def test_layers_are_orthogonal_with_their_gain_and_biases_are_zero(shape: Shape, last_gain: float) -> None:
    for name, block in split(shape, initial_parameters(shape, 5, last_gain)).items():
        if block.ndim == 1:
            assert (block == 0).all(), name
            continue
        gain = last_gain if name == "wo" else np.sqrt(2)
        short = block if block.shape[0] <= block.shape[1] else block.T
        np.testing.assert_allclose(short @ short.T, gain**2 * np.eye(len(short)), atol=2e-6, err_msg=name)


@pytest.mark.parametrize(("shape", "width"), [(Shape(GRU, 37, 0, 64, 16, 1), 64), (SHAPES[1], 64)])
def test_an_aip_starts_uniform_between_plus_and_minus_one_over_the_root_of_its_width(
    shape: Shape, width: int
) -> None:
    """Some 1,000 numbers a block: the mean is off by 5 standard errors in 6e-7 of fresh seeds."""
    bound = 1 / np.sqrt(width)
    for name, block in split(shape, initial_parameters(shape, 5, None)).items():
        assert np.abs(block).max() <= bound
        assert np.unique(block).size > 0.99 * block.size, name
        assert abs(block.mean()) < 5 * bound / np.sqrt(3 * block.size)
    assert np.abs(initial_parameters(shape, 5, None)).max() > 0.99 * bound


@pytest.mark.parametrize("last_gain", [0.01, None])
def test_parameters_are_a_function_of_shape_and_seed(last_gain: float | None) -> None:
    first, again, other = (initial_parameters(SHAPES[0], seed, last_gain) for seed in (8, 8, 9))
    assert np.array_equal(first, again)
    assert not np.isclose(first[first != 0], other[first != 0]).any()


@pytest.mark.parametrize("agents_per_group", [1, 2, 3])
def test_an_agent_starts_with_the_same_networks_in_every_group(agents_per_group: int) -> None:
    domain = make_domain({"name": "warehouse", "side": 2})

    def by_agent(wanted: int) -> dict[int, tuple[bytes, bytes]]:
        config = load_config("warehouse-4", [f"rollout.agents_per_group={wanted}"])
        return {
            agent: (weights.tobytes(), aip.tobytes())
            for group in make_groups(config, domain)
            for agent, weights, aip in zip(
                group.agents, group.initial_weights(1), group.initial_aips(1), strict=True
            )
        }

    together, apart = by_agent(4), by_agent(agents_per_group)
    assert together == apart
    assert len(set(together.values())) == 4  # and agents differ from each other
