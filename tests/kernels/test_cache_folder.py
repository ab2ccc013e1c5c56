"""The folder of compiled kernels is another one for every change of source that can reach a kernel."""

import ast
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
    # These two only ask Numba how it compiles, or look at what it did.
    assert parts - {"runtime", "benchmarking.py"} <= set(SOURCES)


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
