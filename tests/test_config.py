"""The configuration: what is accepted, what is refused, and whether the message helps."""

import dataclasses
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dials_async.config import (
    SIMULATORS,
    Config,
    config_from_dict,
    load_config,
    preset_names,
)
from dials_async.domains.registry import make_domain
from dials_async.errors import ConfigError


def preset_file(folder: Path, text: str) -> str:
    path = folder / "own.toml"
    path.write_text(f'[domain]\nname = "warehouse"\n{text}', encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_for_every_simulator(name: str, simulator: str) -> None:
    config = load_config(name, [f"run.simulator={simulator}"])
    assert config.preset == name
    assert config.run.simulator == simulator
    assert make_domain(config.domain).n_agents >= 1


def test_the_warehouse_presets_are_listed_by_size() -> None:
    names = [name for name in preset_names() if name.startswith("warehouse")]
    assert names == ["warehouse-4", "warehouse-25", "warehouse-49", "warehouse-100"]
    sizes = [make_domain(load_config(name).domain).n_agents for name in names]
    assert sizes == [4, 25, 49, 100]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("pppo.clip=0.1", "unknown section 'pppo': did you mean 'ppo'?"),
        ("ppo.learning_rat=0.1", "unknown key 'ppo.learning_rat': did you mean 'learning_rate'?"),
        ("xyz.clip=0.1", "unknown section 'xyz'"),
        ("for.gs=1", "unknown section 'for'"),
        ("ppo.clip", "--set ppo.clip: write section.key=value"),
        ("clip=0.1", "--set clip=0.1: write section.key=value"),
        ("=1", "--set =1: write section.key=value"),
        ("ppo.=1", "--set ppo.=1: write section.key=value"),
        ("preset.x=1", "--set preset.x=1: write section.key=value"),
        ("run.steps=many", "run.steps = 'many': must be of type int"),
        ("run.steps=1.5", "run.steps = 1.5: must be of type int"),
        ("run.steps=true", "run.steps = True: must be of type int"),
        ("run.seed=", "run.seed = '': must be of type int"),
        ("run.seed=2020-01-01", "must be of type int"),
        ("ppo.clip=true", "ppo.clip = True: must be of type float"),
        ("ppo.clip=wide", "ppo.clip = 'wide': must be of type float"),
        ("parity.truncation_is_termination=1", "must be of type bool"),
        ("policy.network=1", "policy.network = 1: must be of type str"),
        ("policy.hidden_sizes=64", "policy.hidden_sizes = 64: must be a list of integers"),
        ("policy.hidden_sizes=[64, 64.0]", "must be a list of integers"),
        ("policy.hidden_sizes=[64]", "policy.hidden_sizes = [64]: two sizes in 1 .. 4096"),
        ("policy.hidden_sizes=[64, 0]", "two sizes in 1 .. 4096"),
        ("run.steps=0", "run.steps = 0: must be positive"),
        ("run.seed=-1", "run.seed = -1: must be in 0 .. 2**63 - 1"),
        ("run.seed=9223372036854775808", "must be in 0 .. 2**63 - 1"),
        ("run.simulator=sumo", "run.simulator = 'sumo': one of dials, untrained, gs"),
        ("policy.network=lstm", "policy.network = 'lstm': 'mlp' or 'gru'"),
        ("ppo.backend=jax", "ppo.backend = 'jax': 'compiled' or 'torch'"),
        ("ppo.learning_rate=0", "ppo.learning_rate = 0.0: must be positive"),
        ("ppo.learning_rate=nan", "ppo.learning_rate = nan: must be a finite number"),
        ("ppo.learning_rate=inf", "ppo.learning_rate = inf: must be a finite number"),
        ("ppo.entropy=-0.1", "ppo.entropy = -0.1: must not be negative"),
        ("ppo.gamma=1.1", "ppo.gamma = 1.1: must be in 0 .. 1"),
        ("ppo.epochs=0", "ppo.epochs = 0: must be at least 1"),
        ("aip.network=lstm", "aip.network = 'lstm': 'gru' or 'mlp'"),
        ("aip.learning_rate=-1", "aip.learning_rate = -1.0: must be positive"),
        ("aip.gs_steps=0", "aip.gs_steps = 0: must be at least 1"),
        ("schedule.refresh_steps=0", "schedule.refresh_steps = 0: must be at least 1"),
        ("schedule.eval_steps=-1", "schedule.eval_steps = -1: must not be negative"),
        ("rollout.episodes_per_task=0", "rollout.episodes_per_task = 0: must be in 1 .. 4096"),
        ("rollout.episodes_per_task=4097", "must be in 1 .. 4096"),
        ("rollout.max_policy_lag=-1", "rollout.max_policy_lag = -1: must not be negative"),
        ("runtime.workers=0", "runtime.workers = 0: must be in 1 .. 256"),
        ("runtime.workers=257", "must be in 1 .. 256"),
        ("runtime.checkpoint_seconds=0", "runtime.checkpoint_seconds = 0.0: must be positive"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_name_and_what_would_be_right(setting: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("warehouse-4", [setting])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("domain.name=warehous", "unknown domain 'warehous'"),
        ("domain.name=7", "domain.name is missing"),
        ("domain.sides=3", "unknown key 'domain.sides': did you mean 'side'? warehouse has side, item_ages"),
        ("domain.side=three", "domain.side = 'three': must be of type int"),
        ("domain.side=31", "domain.side = 31"),
        ("domain.side=0", "domain.side = 0"),
    ],
)
def test_a_wrong_domain_is_refused(setting: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_domain(load_config("warehouse-4", [setting]).domain)
    assert message in str(caught.value)


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown preset 'warehouse4': did you mean 'warehouse-4'\?"):
        load_config("warehouse4")


def test_a_setting_is_read_as_toml_and_a_bare_word_as_text() -> None:
    config = load_config(
        "warehouse-4",
        [
            "run.steps=2_000",
            "run.seed = 7",
            "ppo.clip=1",
            "rollout.tasks_per_update=3.0",
            "policy.hidden_sizes=[32, 16]",
            "policy.network=gru",
            'aip.network="mlp"',
            "parity.truncation_is_termination=true",
        ],
    )
    assert (config.run.steps, config.run.seed, config.rollout.tasks_per_update) == (2000, 7, 3)
    assert (config.ppo.clip, type(config.ppo.clip)) == (1.0, float)
    assert config.policy.hidden_sizes == (32, 16)
    assert (config.policy.network, config.aip.network) == ("gru", "mlp")
    assert config.parity.truncation_is_termination


def test_of_two_settings_of_one_key_the_last_counts_and_settings_beat_overrides() -> None:
    settings = ["run.seed=2", "run.seed=3"]
    assert load_config("warehouse-4", settings, {"run": {"seed": 4}}).run.seed == 3
    assert load_config("warehouse-4", [], {"run": {"seed": 4}}).run.seed == 4


def test_tables_for_a_simulator_apply_to_it_only(tmp_path: Path) -> None:
    preset = preset_file(tmp_path, "[ppo]\nclip = 0.3\nepochs = 5\n[for.gs.ppo]\nclip = 0.1\n")
    clips = {s: load_config(preset, [f"run.simulator={s}"]).ppo.clip for s in SIMULATORS}
    assert clips == {"dials": 0.3, "untrained": 0.3, "gs": 0.1}
    assert load_config(preset, [], {"run": {"simulator": "gs"}}).ppo.clip == 0.1
    assert load_config(preset, ["run.simulator=gs"]).ppo.epochs == 5


def test_tables_for_a_simulator_apply_when_the_file_itself_chooses_it(tmp_path: Path) -> None:
    preset = preset_file(tmp_path, '[run]\nsimulator = "gs"\n[for.gs.ppo]\nclip = 0.1\n')
    assert load_config(preset).ppo.clip == 0.1
    assert load_config(preset, ["run.simulator=dials"]).ppo.clip == 0.2


def test_a_setting_beats_the_tables_for_a_simulator(tmp_path: Path) -> None:
    preset = preset_file(tmp_path, "[for.gs.ppo]\nclip = 0.1\n")
    assert load_config(preset, ["run.simulator=gs", "ppo.clip=0.4"]).ppo.clip == 0.4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[for.gss.ppo]\nclip = 0.1\n", "unknown simulator in [for.gss]: did you mean 'gs'?"),
        ("[for.gs.pppo]\nclip = 0.1\n", "unknown section 'pppo': did you mean 'ppo'?"),
        ("[for.gs.ppo]\nclipp = 0.1\n", "unknown key 'ppo.clipp': did you mean 'clip'?"),
        ("[for]\ngs = 1\n", "[for.gs] must hold tables"),
        ("[for.gs]\nppo = 1\n", "[ppo] must be a table"),
        ("[[ppo]]\nclip = 0.1\n", "[ppo] must be a table"),
    ],
)
def test_a_wrong_table_is_refused_even_where_it_is_not_used(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(preset_file(tmp_path, text), ["ppo.epochs=1"])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"run = 3\n[domain]\nname = 'warehouse'\n", "[run] must be a table"),
        (b"for = 3\n[domain]\nname = 'warehouse'\n", "[for] must hold tables"),
        (b"[ppo]\nclip = 0.1\n", "domain.name is missing"),
        (b"domain = 3\n", "domain.name is missing"),
        (b"[ppo\n", "is not valid TOML"),
        (b"\xff\xfe", "is not valid TOML"),
    ],
)
def test_a_broken_preset_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(str(path))
    assert message in str(caught.value)


def test_a_missing_preset_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the preset file .*none\.toml: No such file"):
        load_config(str(tmp_path / "none.toml"))


def test_a_configuration_survives_being_written_as_toml() -> None:
    config = load_config("warehouse-25", ["policy.hidden_sizes=[32, 16]", "ppo.clip=0.125", "run.seed=9"])
    assert config_from_dict(tomllib.loads(config.to_toml())) == config


def fields(config: Config) -> Iterator[tuple[str, str, Any]]:
    for section in dataclasses.fields(config):
        value = getattr(config, section.name)
        if dataclasses.is_dataclass(value):
            for key in dataclasses.fields(value):
                yield section.name, key.name, getattr(value, key.name)


def changed(value: Any) -> Any:
    choices = {"dials": "gs", "mlp": "gru", "gru": "mlp", "compiled": "torch"}
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return choices[value]
    if isinstance(value, tuple):
        return (*value[:-1], value[-1] + 1)
    return (value / 2 or 0.5) if isinstance(value, float) else value + 1


#: Length, evaluation, and how a run is carried out: a resume may change them.
FREE = {
    ("run", "steps"),
    ("ppo", "schedule_steps"),
    ("schedule", "eval_steps"),
    ("schedule", "eval_episodes"),
    ("schedule", "final_eval_episodes"),
    ("runtime", "workers"),
    ("runtime", "checkpoint_seconds"),
}


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [pytest.param(*entry, id=f"{entry[0]}.{entry[1]}") for entry in fields(load_config("warehouse-4"))],
)
def test_the_fingerprint_notices_all_that_a_checkpoint_must_agree_with(
    section: str, key: str, value: Any
) -> None:
    config = load_config("warehouse-4")
    part = dataclasses.replace(getattr(config, section), **{key: changed(value)})
    other = dataclasses.replace(config, **{section: part})
    assert (other.fingerprint() == config.fingerprint()) == ((section, key) in FREE)


def test_the_fingerprint_notices_the_domain_and_not_the_name_of_the_preset() -> None:
    config = load_config("warehouse-4")
    renamed = dataclasses.replace(config, preset="other")
    larger = dataclasses.replace(config, domain={**config.domain, "side": 3})
    assert renamed.fingerprint() == config.fingerprint() != larger.fingerprint()


def test_evaluations_come_at_a_twentieth_of_the_run_unless_set() -> None:
    assert load_config("warehouse-4", ["run.steps=64000"]).eval_steps == 3200
    assert load_config("warehouse-4", ["run.steps=10"]).eval_steps == 1
    assert load_config("warehouse-4", ["schedule.eval_steps=77"]).eval_steps == 77
