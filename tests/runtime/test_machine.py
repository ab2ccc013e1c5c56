"""How many cores there are for us: a container's limit counts as much as the machine."""

import math
from pathlib import Path

import pytest

from dials_async.runtime.machine import _container_cores, cores, machine


def group(root: Path, path: str, **files: str) -> None:
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.mark.parametrize(
    ("own", "limits", "expected"),
    [
        ("0::/\n", {"": "150000 100000\n"}, 1.5),  # a container sees itself as the root
        ("0::/\n", {"": "max 100000\n"}, math.inf),
        ("0::/pod/box\n", {"pod": "200000 100000\n", "pod/box": "max 100000\n"}, 2.0),  # what is above counts
        ("0::/pod/box\n", {"pod": "200000 100000\n", "pod/box": "50000 100000\n"}, 0.5),
        ("0::/gone\n", {}, math.inf),
        ("", {}, math.inf),
    ],
)
def test_the_limit_of_control_groups_version_2(
    own: str, limits: dict[str, str], expected: float, tmp_path: Path
) -> None:
    for path, text in limits.items():
        group(tmp_path / "fs", path, cpu__max=text)
    (tmp_path / "own").write_text(own)
    assert _container_cores(tmp_path / "fs", tmp_path / "own") == expected


@pytest.mark.parametrize(("quota", "expected"), [("300000\n", 3.0), ("-1\n", math.inf)])
def test_the_limit_of_control_groups_version_1(quota: str, expected: float, tmp_path: Path) -> None:
    group(tmp_path / "fs", "cpu/box", cpu__cfs_quota_us=quota, cpu__cfs_period_us="100000\n")
    (tmp_path / "own").write_text("4:memory:/other\n3:cpu,cpuacct:/box\n0::/\n")
    assert _container_cores(tmp_path / "fs", tmp_path / "own") == expected


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert _container_cores(tmp_path / "none", tmp_path / "nothing") == math.inf


def test_there_is_a_core_here() -> None:
    assert cores() == machine()["cores"] >= 1
