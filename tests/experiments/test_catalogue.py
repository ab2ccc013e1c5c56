"""The list of experiments: every trial in it can be configured, and a plan holds what its budget says."""

from dataclasses import replace

import pytest

from dials_async.errors import UsageError
from dials_async.experiments.catalogue import BUDGETS, agents_of, load_catalogue
from dials_async.experiments.figures import _KINDS

from .made_up import small_catalogue

CATALOGUE = load_catalogue()


@pytest.mark.parametrize("name", CATALOGUE.experiments)
@pytest.mark.parametrize("budget", BUDGETS)
def test_every_trial_of_every_experiment_has_settings_that_are_accepted(name: str, budget: str) -> None:
    trials = CATALOGUE.plan(CATALOGUE.experiments[name], budget)
    assert len({trial.name for trial in trials}) == len(trials) > 0
    for trial in trials:
        config = trial.config
        assert config.run.simulator == trial.simulator
        assert config.run.seed == trial.seed


@pytest.mark.parametrize("experiment", CATALOGUE.experiments.values(), ids=lambda one: one.name)
def test_every_figure_can_be_drawn_and_quick_is_part_of_full(experiment) -> None:  # type: ignore[no-untyped-def]
    assert set(experiment.figures) <= set(_KINDS)
    for part in experiment.trials:
        assert set(part.quick) <= set(part.presets)


def test_published_values_have_a_size_each() -> None:
    for published in CATALOGUE.published.values():
        assert len(published.agents) == len(published.returns) == len(published.hours)


def test_a_plan_has_the_seeds_of_its_budget_first_seeds_first() -> None:
    catalogue, experiment = small_catalogue()
    quick = [trial.name for trial in catalogue.plan(experiment, "quick")]
    assert quick == [
        f"warehouse-4.dials.{variant}.s{seed}" for seed in (1, 2) for variant in ("slow", "fast")
    ]
    full = catalogue.plan(experiment, "full")
    assert [agents_of(trial.preset) for trial in full].count(4) == 2 * 3
    assert [agents_of(trial.preset) for trial in full].count(25) == 2 * 1
    assert len(catalogue.plan(experiment, "full", seeds=5)) == 2 * 2 * 5


def test_a_set_of_trials_may_have_fewer_seeds() -> None:
    catalogue, experiment = small_catalogue()
    few = replace(experiment, trials=tuple(replace(part, seeds=1) for part in experiment.trials))
    assert {trial.seed for trial in catalogue.plan(few, "full")} == {1}
    assert {trial.seed for trial in catalogue.plan(few, "full", seeds=5)} == {1}


def test_a_variant_of_one_domain_is_left_out_of_the_others() -> None:
    catalogue, experiment = small_catalogue()
    assert not [trial for trial in catalogue.plan(experiment, "full") if trial.variant.name == "lights"]


def test_other_settings_are_another_trial() -> None:
    catalogue, experiment = small_catalogue()
    prints = {trial.fingerprint for trial in catalogue.plan(experiment, "full")}
    assert len(prints) == len(catalogue.plan(experiment, "full"))


def test_an_unknown_experiment_is_told_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="did you mean 'scalability'"):
        CATALOGUE.experiment("scalabilty")


def test_rows_of_other_settings_or_of_a_variant_that_is_gone_are_not_current() -> None:
    catalogue, experiment = small_catalogue()
    trial = catalogue.plan(experiment, "quick")[0]
    row = {"preset": trial.preset, "simulator": trial.simulator, "variant": trial.variant.name, "seed": "1"}
    assert catalogue.is_current({**row, "fingerprint": trial.fingerprint})
    assert not catalogue.is_current({**row, "fingerprint": "0"})
    assert not catalogue.is_current({**row, "fingerprint": trial.fingerprint, "variant": "gone"})
    assert not catalogue.is_current({**row, "fingerprint": trial.fingerprint, "preset": "warehouse-7"})


def test_a_variant_like_another_has_its_settings_but_those_left_out() -> None:
    paper, ours = (CATALOGUE.variants[name] for name in ("paper", "paper-our-aips"))
    left_out = set(paper.settings) - set(ours.settings)
    assert len(left_out) == 4
    assert all(text.startswith("aip.") for text in left_out)
    assert set(ours.settings) < set(paper.settings)
    assert (ours.steps, ours.domain) == (paper.steps, paper.domain)
    assert ours.label != paper.label
