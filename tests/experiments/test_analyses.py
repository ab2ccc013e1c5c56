"""Analyses of real finished runs: what must hold whatever was learned."""

from pathlib import Path

import numpy as np
import pytest

from dials_async.experiments.fidelity import fidelity
from dials_async.experiments.theory import probabilities, theory
from dials_async.experiments.trained import read_trained
from dials_async.influence.training import cross_entropy
from dials_async.kernels.bits import packed_size
from dials_async.runtime import training
from tests.runtime.small import small_config


@pytest.fixture(scope="module")
def finished(whole_runs: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two refreshes."""
    folder = tmp_path_factory.mktemp("analyses")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIALS_RUNS", str(folder))
        outcome = training.train("small", small_config(), "dials train ...", watching=training.QUIETLY)
    return outcome.folder


def test_trained_policies_and_all_kept_predictors_are_read(finished: Path) -> None:
    run = read_trained(finished)
    assert [version for version, _ in run.aips] == [0, 1, 2]
    assert sum(actors.shape[0] for actors in run.actors) == 4


def test_fidelity_has_a_row_for_each_agent(finished: Path) -> None:
    rows = fidelity(finished, episodes=16)
    assert [(row["agent"], row["row"], row["column"]) for row in rows] == [
        (0, 0, 0),
        (1, 0, 1),
        (2, 1, 0),
        (3, 1, 1),
    ]
    for row in rows:
        assert 0 <= row["bit_difference_mean"] <= row["bit_difference_max"] <= 1
        assert 0 < row["influence_ce"] < 5
        # Early policies earn little, and about as much in both
        assert abs(row["gs_return"] - row["ials_return"]) < 3
    assert rows == fidelity(finished, episodes=16)


def test_predicted_probabilities_are_those_that_the_cross_entropy_is_made_of(finished: Path) -> None:
    run = read_trained(finished)
    joint, group = run.global_episodes(3, seed=5), run.groups[0]
    bytes_of_dset = packed_size(group.spec.dset_bits)
    dsets = np.ascontiguousarray(joint.by_group[0].observations[0, :, :-1, :bytes_of_dset])
    influence = joint.influence[0][0]
    aip = run.aips[-1][1][0][0]
    predicted = probabilities(group, aip, dsets, influence)
    np.testing.assert_allclose(predicted.sum(axis=-1), 1.0, rtol=1e-6)
    came = np.take_along_axis(predicted, influence.transpose(1, 0, 2)[..., None].astype(np.int64), axis=-1)
    expected = cross_entropy(group.aip, aip, group.spec.n_classes, dsets, influence)
    assert -np.log(came).mean() == pytest.approx(expected, rel=1e-4)


def test_measured_changes_stay_below_the_bound(finished: Path) -> None:
    rows = theory(finished, episodes=16)
    assert [(row["aip_version"], row["agent"]) for row in rows] == [
        (version, agent) for version in (1, 2) for agent in range(4)
    ]
    for row in rows:
        assert 0 <= row["xi"] <= row["xi_max"] <= 2 * 4  # four sources
        assert row["bound"] == pytest.approx(100 * 101 / 2 * row["xi"])
        assert abs(row["value_change"]) <= row["bound"]  # a refresh that helps nothing changes nothing
        assert row["value_after"] - row["value_before"] == pytest.approx(row["value_change"])
    assert max(row["xi"] for row in rows) > 0.01
