"""A process that compiles its share of a run's kernels: several of them fill the cache side by side.

Numba compiles one kernel at a time in a process, so only processes use all cores. No list of kernels is kept
anywhere: each process makes a tiny run in which kernels are noted instead of computed (they only write into
arrays that they are given, so the run goes on with zeros) and so learns which are called, with which types.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from types import FunctionType
from typing import Any, get_args, get_origin, get_type_hints

from numba.core.dispatcher import Dispatcher

from dials_async.config import Config
from dials_async.domains.registry import make_domain
from dials_async.errors import TrainingError
from dials_async.run_folder import read_config
from dials_async.runtime.embedded import EmbeddedRun

#: First words of what this process tells on stdout, a line each.
FOUND, COMPILED = "found", "compiled"


@dataclass(frozen=True)
class Kernel:
    """A kernel and the types that it is called with: all of them compiled by one process.

    Numba keeps one index for each kernel: two processes that add to it would lose what the other one added.
    """

    name: str
    dispatcher: Any
    signatures: frozenset[tuple[Any, ...]]

    @property
    def size(self) -> int:
        """Bytes of bytecode, of its parts too: a guess at how long it takes; the longest come first."""
        seen: set[FunctionType] = set()
        _collect(self.dispatcher.py_func, seen)
        return sum(len(function.__code__.co_code) for function in seen)

    def is_claimed(self, folder: Path) -> bool:
        """Whether another process has it; if not, it is this one's from now on."""
        try:
            (folder / hashlib.sha256(self.name.encode()).hexdigest()[:16]).touch(exist_ok=False)
        except FileExistsError:
            return True
        return False

    def compile(self) -> None:
        """Compile for all types; what is in the cache already is only loaded."""
        for signature in sorted(self.signatures, key=str):
            self.dispatcher.compile(signature)


def tiny_run(config: Config) -> None:
    """A run of the same kind, to its end. Raises what training raises."""
    with tempfile.TemporaryDirectory(prefix="dials-") as folder:
        run = EmbeddedRun("compile", _tiny(config), Path(folder) / "run", resume=False)
        run.start()
        if not run.wait(lambda: None):
            raise TrainingError("compiling the kernels was interrupted")


def find_kernels(config: Config) -> list[Kernel]:
    """The kernels that a run calls, largest first. Raises what training raises."""
    with _noting() as found:
        tiny_run(config)
    kernels = [
        Kernel(f"{kernel.py_func.__module__}.{kernel.py_func.__qualname__}", kernel, frozenset(signatures))
        for kernel, signatures in found.items()
    ]
    return sorted(kernels, key=lambda kernel: (-kernel.size, kernel.name))


def main() -> None:
    """Compile what no other process has claimed: ``python -m dials_async.runtime.compiling FOLDER``.

    In FOLDER are the run's config.toml and the claims of all processes.
    """
    Thread(target=_end_with_parent, daemon=True).start()
    folder = Path(sys.argv[1])
    kernels = find_kernels(read_config(folder))
    print(FOUND, len(kernels), flush=True)
    for kernel in kernels:
        if not kernel.is_claimed(folder):
            kernel.compile()
            print(COMPILED, kernel.name, flush=True)


def _end_with_parent() -> None:
    """The parent writes nothing: its end of the pipe closes when it is gone, however it went."""
    os.read(0, 1)
    os._exit(1)


@contextmanager
def _noting() -> Iterator[dict[Any, set[tuple[Any, ...]]]]:
    """Kernels that are called and not compiled yet are noted with their types; the call does nothing."""
    found: dict[Any, set[tuple[Any, ...]]] = {}
    all_kernels: Any = Dispatcher  # what is changed here is not in Numba's types

    # Numba calls this where it has no machine code for the types, then what it returned with the arguments.
    def note(kernel: Any, *arguments: Any) -> Callable[..., Any]:
        found.setdefault(kernel, set()).add(tuple(kernel.typeof_pyval(x) for x in arguments))
        result = _zero(get_type_hints(kernel.py_func).get("return"))
        return lambda *_: result

    original = all_kernels._compile_for_args
    all_kernels._compile_for_args = note
    try:
        yield found
    finally:
        all_kernels._compile_for_args = original


def _zero(kind: Any) -> Any:
    """A value of the type that a kernel is said to return."""
    if get_origin(kind) is tuple:
        return tuple(_zero(part) for part in get_args(kind))
    return 0 if kind is int else 0.0


def _collect(function: FunctionType, seen: set[FunctionType]) -> None:
    seen.add(function)
    for name in function.__code__.co_names:
        used = function.__globals__.get(name)
        if isinstance(used, Dispatcher) and used.py_func not in seen:
            _collect(used.py_func, seen)


def _tiny(config: Config) -> Config:
    """Two updates of one episode and one refresh: every kernel is called, with arrays of the same types."""
    episode = make_domain(config.domain).episode_steps
    return replace(
        config,
        run=replace(config.run, steps=2 * episode),
        aip=replace(config.aip, gs_steps=2 * episode, epochs=1),
        ppo=replace(config.ppo, epochs=1, schedule_steps=0),
        schedule=replace(
            config.schedule,
            refresh_steps=2 * episode,
            eval_steps=2 * episode,
            eval_episodes=1,
            final_eval_episodes=1,
        ),
        rollout=replace(config.rollout, episodes_per_task=1, tasks_per_update=1, max_policy_lag=0),
        runtime=replace(config.runtime, workers=1),
    )


if __name__ == "__main__":
    main()
