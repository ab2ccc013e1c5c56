"""Rules that hold for the whole package: who may import whom, no pickle, small documented modules."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dials_async

ROOT = Path(dials_async.__file__).parent
MODULES = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}

LOWEST = {"errors", "metrics", "_environment", "cache"}
NUMERIC = {"errors", "kernels", "networks", "domains"}
PORTS = {"errors", "messaging", "store"}
LEARNING = {
    *LOWEST,
    *NUMERIC,
    *PORTS,
    "config",
    "groups",
    "clock",
    "run_context",
    "influence",
    "rollout",
    "learning",
}

SUPERVISION = {"servers", "supervise"}

#: What each part of the package may import from the package, itself apart (DESIGN, "Layout").
ALLOWED: dict[str, set[str]] = {
    "__init__": {"_environment"},
    "_environment": set(),
    "errors": set(),
    "listening": {"errors"},
    "metrics": {"errors", "listening"},
    "config": {"errors", "presets"},
    "presets": set(),
    "cache": set(),
    "drawings": set(),
    "kernels": {"errors", "cache"},
    "networks": {"errors", "kernels"},
    "domains": {"errors", "cache", "drawings", "kernels", "networks"},
    "addresses": {"errors"},
    "messaging": {"errors", "addresses", "metrics"},
    "store": {"errors", "addresses"},
    "locking": set(),
    "servers": {"errors", "addresses", "locking", "supervise", "metrics"},
    "kin": set(),
    "supervise": {"errors", "kin"},
    "groups": {"errors", "config", "domains", "kernels", "networks"},
    "clock": {"errors", "config", "domains"},
    "run_context": LEARNING - {"learning", "rollout", "influence"},
    "influence": LEARNING - {"learning"},
    "rollout": LEARNING - {"learning", "influence"},
    "learning": LEARNING - {"rollout"},
    "evaluation": LEARNING,
    "report": {"errors", "drawings"},
    "dashboard": {"errors", "listening", "report"},
    "runtime": {*LEARNING, "", "dashboard", "listening", "locking", "evaluation", "report"},
    "distributed": {*LEARNING, "", "addresses", "listening", "evaluation", "report", "runtime", "servers"},
    "benchmarking": {*LEARNING, "runtime"},
    "experiments": {*LEARNING, "report", "runtime"},
    "cli": {
        *LEARNING,
        "addresses",
        "listening",
        "",
        "evaluation",
        "report",
        "runtime",
        "benchmarking",
        "experiments",
        "dashboard",
        "distributed",
        *SUPERVISION,
    },
    "__main__": {"cli"},
}

#: A module longer than this holds more than one thought.
MOST_LINES = 300


def part_of(module: str) -> str:
    return Path(module).parts[0].removesuffix(".py")


def imported_parts(module: str) -> set[str]:
    """Parts of the package that a module imports, inside of functions too ('' is the package itself)."""
    parts = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            full = [alias.name for alias in node.names]
        else:
            continue
        for name in full:
            words = name.split(".")
            if words[0] == "dials_async":
                known = len(words) > 1 and words[1] in ALLOWED
                parts.add(words[1] if known else "")
    return parts


def test_every_part_of_the_package_has_its_place() -> None:
    assert {part_of(module) for module in MODULES} == set(ALLOWED)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards(module: str) -> None:
    part = part_of(module)
    assert imported_parts(module) - {part} <= ALLOWED[part]


def test_the_rules_are_those_of_the_design() -> None:
    above = {"messaging", "store", "learning", "influence", "rollout", "runtime", "cli", "run_context"}
    for part in ("domains", "kernels", "networks"):
        assert not ALLOWED[part] & above
    for part in ("messaging", "store"):
        assert not ALLOWED[part] & {"learning", "influence", "rollout", "runtime", "domains", "networks"}
    for part, allowed in ALLOWED.items():
        if part not in ("runtime", "distributed", "cli", "benchmarking", "experiments", "__main__"):
            assert not allowed & {"runtime", "distributed", "cli", "benchmarking", "experiments"}


#: Numba keeps machine code as pickles: in a folder that nobody else can write to, each behind its hash.
PICKLES = {"kernels/machine_code.py"}


@pytest.mark.parametrize("module", sorted(MODULES.keys() - PICKLES))
def test_nothing_is_pickled(module: str) -> None:
    for node in ast.walk(TREES[module]):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        pickles = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
        assert not {name.split(".")[0] for name in names} & pickles
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in {("torch", "load"), ("torch", "save")}
        if isinstance(node, ast.keyword):
            assert node.arg != "allow_pickle"


@pytest.mark.parametrize("module", MODULES)
def test_the_first_line_says_what_the_module_is(module: str) -> None:
    documentation = ast.get_docstring(TREES[module])
    assert documentation is not None
    assert MODULES[module].read_text(encoding="utf-8").startswith('"""')
    assert len(documentation.splitlines()[0]) > 10


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_a_room(module: str) -> None:
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES


def test_the_command_line_answers_without_the_heavy_libraries() -> None:
    code = (
        "import sys, dials_async.cli; "
        "print(sorted({'torch', 'matplotlib', 'numba', 'numpy', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_run_without_torch_backend_never_imports_torch() -> None:
    code = "import sys, dials_async.runtime.training; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
