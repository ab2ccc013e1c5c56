"""The folder of compiled kernels is another one for every change of source that can reach a kernel."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dials_async
from dials_async.kernels.compile import SOURCES

ROOT = Path(dials_async.__file__).parent

#: What kernels are made of, wherever it is imported.
MAKERS = {"dials_async.kernels.compile", "dials_async.kernels.arithmetic", "numba", "llvmlite"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_every_module_that_makes_kernels_is_in_the_hash() -> None:
    makers = [path for path in ROOT.rglob("*.py") if imports(path) & MAKERS]
    assert len(makers) > 20
    parts = {path.relative_to(ROOT).parts[0] for path in makers}
    # These only ask Numba how it compiles, or where to, or look at what it did.
    assert parts - {"runtime", "benchmarking.py", "cli"} <= set(SOURCES)


@pytest.mark.parametrize(
    "module",
    [
        "kernels/arithmetic.py",
        "kernels/functions.py",
        "kernels/vectors.py",
        "kernels/rng.py",
        "networks/layout.py",
        "learning/settings.py",
        "domains/warehouse/layout.py",
    ],
)
def test_an_edit_is_noticed(module: str, tmp_path: Path) -> None:
    def folder() -> str:
        code = "from dials_async.kernels.compile import CACHE_FOLDER; print(CACHE_FOLDER.name)"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    shutil.copytree(ROOT, tmp_path / "dials_async", ignore=shutil.ignore_patterns("__pycache__"))
    before = folder()
    with (tmp_path / "dials_async" / module).open("a", encoding="utf-8") as file:
        file.write("\n# edited\n")
    assert folder() != before


@pytest.mark.parametrize("layout", ["package", "module"])
def test_an_edit_of_a_package_that_ships_a_domain_is_noticed(layout: str, tmp_path: Path) -> None:
    # Given an installed distribution with a domain, in a package of several files or in a module
    if layout == "package":
        edited = tmp_path / "tanks" / "parts" / "rules.py"
        edited.parent.mkdir(parents=True)
        (tmp_path / "tanks" / "__init__.py").write_text("raise SystemExit('not to be imported for that')\n")
    else:
        edited = tmp_path / "tanks.py"
    edited.write_text("RATE = 1\n")
    about = tmp_path / "tanks-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tanks\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[dials_async.domains]\ntanks = tanks.parts:Tanks\n")
    code = "from dials_async.kernels.compile import CACHE_FOLDER; print(CACHE_FOLDER.name)"

    def folder() -> str:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT.parent}"},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    before = folder()
    assert folder() == before
    # When one of its files changes
    edited.write_text("RATE = 2\n")
    assert folder() != before
