"""Rules that hold for the whole package: who may import whom, no pickle, small documented modules."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dials_async

ROOT = Path(dials_async.__file__).parent
MODULES = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.rglob("*.py"))}


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


TREES = {name: ast.parse(text_of(path)) for name, path in MODULES.items()}

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
    "part",
    "run_context",
    "influence",
    "rollout",
    "learning",
}

SUPERVISION = {"servers", "supervise"}

#: What each part of the package may import from the package, itself apart (docs/architecture.md).
ALLOWED: dict[str, set[str]] = {
    "__init__": {"_environment"},
    "_environment": set(),
    "errors": set(),
    "listening": {"errors"},
    "metrics": {"errors", "atomic", "listening"},
    "config": {"errors", "presets"},
    "presets": set(),
    "cache": set(),
    "drawings": set(),
    "kernels": {"errors", "cache"},
    "networks": {"errors", "kernels"},
    "domains": {"errors", "cache", "drawings", "kernels", "networks"},
    "addresses": {"errors"},
    "messaging": {"errors", "addresses", "metrics"},
    "store": {"errors", "addresses", "atomic"},
    "locking": set(),
    "servers": {"errors", "addresses", "locking", "supervise", "metrics"},
    "kin": set(),
    "logs": set(),
    "child_output": {"logs"},
    "supervise": {"errors", "kin", "logs", "child_output"},
    "groups": {"errors", "config", "domains", "kernels", "networks"},
    "part": set(),
    "atomic": set(),
    "run_folder": {"errors", "atomic", "config", "locking"},
    "clock": {"errors", "config", "domains"},
    "run_context": LEARNING - {"learning", "rollout", "influence"},
    "influence": LEARNING - {"learning"},
    "rollout": LEARNING - {"learning", "influence"},
    "learning": LEARNING - {"rollout"},
    "evaluation": LEARNING,
    "report": {"errors", "atomic", "drawings", "run_folder"},
    "dashboard": {"errors", "listening", "report", "run_folder"},
    "runtime": {*LEARNING, "", "dashboard", "listening", "locking", "evaluation", "report", "run_folder"},
    "distributed": {
        *LEARNING,
        "",
        "addresses",
        "listening",
        "evaluation",
        "report",
        "run_folder",
        "runtime",
        "servers",
    },
    "benchmarking": {*LEARNING, "runtime"},
    "experiments": {*LEARNING, "report", "run_folder", "runtime"},
    "cli": {
        *LEARNING,
        "addresses",
        "listening",
        "logs",
        "",
        "evaluation",
        "report",
        "run_folder",
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


def imports(tree: ast.Module) -> Iterator[str]:
    """Full names of what a module imports, inside of functions too; relative ones begin with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ("." * node.level + f"{node.module or ''}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def imported_parts(module: str) -> set[str]:
    """Parts of the package that a module imports ('' is the package itself)."""
    parts = set()
    for name in imports(TREES[module]):
        words = name.split(".")
        if words[0] == "dials_async":
            known = len(words) > 1 and words[1] in ALLOWED
            parts.add(words[1] if known else "")
    return parts


def test_every_part_of_the_package_has_its_place() -> None:
    assert {part_of(module) for module in MODULES} == set(ALLOWED)


def require_none(offenders: list[str]) -> None:
    """Fails with all of them."""
    assert not offenders, "\n" + "\n".join(offenders)


def test_imports_are_absolute_and_point_downwards() -> None:
    relative = [
        f"{module} imports {name}"
        for module, tree in TREES.items()
        for name in imports(tree)
        if name.startswith(".")
    ]
    upward = [
        f"{module} imports {other}"
        for module in MODULES
        for other in sorted(imported_parts(module) - {part_of(module)} - ALLOWED[part_of(module)])
    ]
    require_none(relative + upward)


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


#: Modules that pickle, and what other libraries call it.
PICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def pickling(tree: ast.Module) -> Iterator[str]:
    """What a module has that could unpickle."""
    yield from (name for name in imports(tree) if name.split(".")[0] in PICKLING)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if (node.value.id, node.attr) in {("torch", "load"), ("torch", "save")}:
                yield f"torch.{node.attr}"
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            yield node.arg


def test_nothing_is_pickled() -> None:
    found = {module: sorted(pickling(tree)) for module, tree in TREES.items()}
    require_none([f"{module}: {names}" for module, names in found.items() if names and module not in PICKLES])
    assert all(found[module] for module in PICKLES)


def test_the_first_line_says_what_the_module_is() -> None:
    require_none(
        [
            module
            for module, tree in TREES.items()
            if len((ast.get_docstring(tree) or "").partition("\n")[0]) <= 10
            or not text_of(MODULES[module]).startswith('"""')
        ]
    )


def test_a_module_is_a_room() -> None:
    lengths = {module: len(text_of(path).splitlines()) for module, path in MODULES.items()}
    require_none([f"{module}: {lines} lines" for module, lines in lengths.items() if lines > MOST_LINES])


def test_a_file_of_the_tests_has_one_name() -> None:
    """Neighbours are imported relatively, others from ``tests``: what has two names is loaded twice."""
    tests = Path(__file__).parent
    wrong = []
    for path in sorted(tests.rglob("*.py")):
        if not (path.parent / "__init__.py").exists():
            wrong.append(f"{path.relative_to(tests)}: in no package")
        for name in imports(ast.parse(text_of(path))):
            first = name.split(".")[0]
            if first and first != "tests" and ((tests / first).is_dir() or (tests / f"{first}.py").exists()):
                wrong.append(f"{path.relative_to(tests)} imports {name}")
    require_none(wrong)


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
