"""Compile the kernels of a run before its clock starts: once per machine, on all cores.

Processes that compile a share each (``dials_async.runtime.compiling``) fill the cache; then a tiny run of the
same kind in this process takes the kernels from there, and compiles what should be missing. Several processes
that meet an empty cache would each compile everything: the first one does, the others wait.
"""

import hashlib
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numba
from rich.console import Console

from dials_async.config import Config
from dials_async.domains.registry import make_domain
from dials_async.kernels.compile import CACHE_FOLDER
from dials_async.kernels.processor import features
from dials_async.locking import lock
from dials_async.run_folder import CONFIG
from dials_async.runtime import compiling
from dials_async.runtime.compiling import COMPILED, FOUND, tiny_run
from dials_async.runtime.machine import cores
from dials_async.runtime.rehearsal import rehearse

#: More processes would wait for the largest kernel, and each takes about 300 MiB.
MOST_PROCESSES = 8


logger = logging.getLogger(__name__)


def compile_kernels(config: Config, quiet: bool = False) -> None:
    """Compile what is not in the cache: nothing to do after the first time. Raises what training raises.

    The domain is rehearsed then: before that takes its time, unless its own kernels are among them.
    """
    marker = CACHE_FOLDER / f"complete-{_kind(config)}"
    if marker.exists():
        return
    with _alone():
        if not marker.exists():
            domain = make_domain(config.domain)
            has_kernels = domain.local_state((0,), 1) is not None
            if not has_kernels:
                rehearse(domain, with_local=config.run.simulator != "gs")
            with _progress(quiet) as show:
                if cores() > 1 and os.access(CACHE_FOLDER, os.W_OK):
                    _fill_cache(config, min(cores(), MOST_PROCESSES), show)
                tiny_run(config)
            if has_kernels:
                rehearse(domain, with_local=False)
            with suppress(OSError):  # what could not be kept was said already
                marker.touch()


@contextmanager
def _alone() -> Iterator[None]:
    """One process at a time in the folder of compiled kernels."""
    held = lock(CACHE_FOLDER, wait=True)
    try:
        yield
    finally:
        os.close(held)


def _kind(config: Config) -> str:
    """What decides which kernels a run needs."""
    # Without a compiled LS policies and AIPs are called from Python, by kernels of their own.
    local = "stepped" if make_domain(config.domain).local_state((0,), 1) is None else "fused"
    parts = (config.domain["name"], local, config.run.simulator, config.policy.network, config.aip.network)
    # Numba keeps machine code by its own version and by processor: a shared folder may serve several.
    made_for = hashlib.sha256(repr((numba.__version__, sorted(features()))).encode()).hexdigest()[:8]
    return "-".join([*map(str, parts), config.ppo.backend, made_for])


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Show how far it is: on a terminal in one line, elsewhere in a line each."""
    if quiet:
        yield lambda _text: None
        return
    console = Console(file=sys.stderr)
    first = f"compiling kernels: once per machine, about half a minute (kept in {CACHE_FOLDER.parent})"
    print(first, file=sys.stderr, flush=True)
    if not console.is_terminal:
        yield lambda text: print(text, file=sys.stderr, flush=True)
        return
    with console.status("compiling kernels") as status:
        yield status.update


def _fill_cache(config: Config, n_processes: int, show: Callable[[str], None]) -> None:
    """Let processes compile the kernels; what one that ended early left is for the tiny run to compile."""
    with tempfile.TemporaryDirectory(prefix="dials-") as name, ExitStack() as ended:
        folder = Path(name)
        (folder / CONFIG).write_text(config.to_toml(), encoding="utf-8")
        said, says = os.pipe()
        with open(said, encoding="utf-8") as lines:
            try:
                children = [ended.enter_context(_child(folder, k, says)) for k in range(n_processes)]
            finally:
                os.close(says)  # the children's copies keep it open: the lines end when the children do
            _follow(lines, show)
        for k, child in enumerate(children):
            if child.wait():
                logger.warning("a process that compiled kernels ended early: %s", _why(folder, k, child))


@contextmanager
def _child(folder: Path, k: int, says: int) -> Iterator["subprocess.Popen[bytes]"]:
    """One process, killed if it is left behind, by Ctrl-C say: it may be in a kernel for a long time."""
    with open(folder / f"errors-{k}", "wb") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", compiling.__name__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=says,
            stderr=errors,
            process_group=0,  # Ctrl-C is for this process to answer
        )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def _follow(lines: Iterable[str], show: Callable[[str], None]) -> None:
    """Count what the processes tell, until the last one has ended."""
    found = done = 0
    for line in lines:
        kind, _, rest = line.strip().partition(" ")
        if kind == FOUND:
            found = max(found, int(rest))
        elif kind == COMPILED:
            done += 1
            show(f"compiling kernels: {done} of {found} done ({rest})")


def _why(folder: Path, k: int, child: "subprocess.Popen[bytes]") -> str:
    said = (folder / f"errors-{k}").read_text(encoding="utf-8", errors="replace").strip()
    return said.splitlines()[-1] if said else f"exit code {child.returncode}"
