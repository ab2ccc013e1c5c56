"""``dials train`` as a function: set up or resume a run, train it, write its results."""

import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from dials_async.clock import make_clock
from dials_async.config import Config, load_config
from dials_async.dashboard import NO_PASSWORD, FolderSource, serve
from dials_async.domains.registry import machine_options, make_domain
from dials_async.errors import ConfigError, InterruptedRunError, NumericsError
from dials_async.listening import parse_address
from dials_async.metrics.endpoint import OFF, announced, make_metrics, served
from dials_async.metrics.health import State
from dials_async.metrics.instruments import Metrics
from dials_async.run_folder import (
    CONFIG,
    SUMMARY,
    create_run,
    locked,
    read_config,
    run_path,
    write_file,
)
from dials_async.runtime.embedded import EmbeddedRun
from dials_async.runtime.files import has_checkpoint
from dials_async.runtime.live import STOPPED
from dials_async.runtime.numerics import PARTS, join_run
from dials_async.runtime.progress import ProgressView
from dials_async.runtime.warmup import compile_kernels
from dials_async.runtime.wiring import extend, fingerprint_of

#: Seconds after the first Ctrl-C before which another one is the same: some shells and tools send two.
SECOND_S = 1.0


@dataclass(frozen=True)
class Outcome:
    """What became of a run."""

    folder: Path
    complete: bool
    summary: dict[str, Any] | None
    """None if the run was stopped before its end."""


def default_name(config: Config) -> str:
    """A name that nobody has to think about: preset, simulator, seed, time."""
    parts = [
        Path(config.preset).stem,
        config.run.simulator,
        f"s{config.run.seed}",
        time.strftime("%Y%m%d-%H%M%S"),
    ]
    return "-".join(parts)


@dataclass(frozen=True)
class Watching:
    """How a run is watched while it trains."""

    quiet: bool = False
    """No progress on the terminal."""
    metrics_address: str = OFF
    """Where Prometheus reads its numbers (``dials_async.metrics.endpoint``)."""
    dashboard_address: str | None = None
    """Where this process serves the run's dashboard; None: nowhere."""


#: By nobody.
QUIETLY = Watching(quiet=True)


def train(name: str | None, config: Config, command: str, watching: Watching = QUIETLY) -> Outcome:
    """Train a new run; without a name it gets one.

    Raises UsageError before anything is written, TrainingError if it cannot go on. One that fails before
    anything was learned from (version 0 is committed) leaves nothing behind: its name is free.
    """
    if name is None:
        name = default_name(config)
    EmbeddedRun(name, config, Path(), resume=False)  # finds what is wrong before the folder is made
    metrics = make_metrics(watching.metrics_address)
    with _served(metrics, run_path(name), watching) as place:  # so does a port that is taken
        folder = create_run(name, config)
        with locked(folder):
            run = EmbeddedRun(name, config, folder, False, metrics)
            try:
                _prepare(run, folder, watching.quiet, allow_other_numerics=False)
                return _carry_out(run, folder, command, watching.quiet, place)
            except InterruptedRunError:  # the user was told that it can be resumed
                raise
            except Exception:
                if not run.has_begun:
                    shutil.rmtree(folder)
                raise


def resume(
    folder: Path,
    steps: int | None,
    workers: int | None,
    command: str,
    watching: Watching = QUIETLY,
    settings: Sequence[str] = (),
    allow_other_numerics: bool = False,
) -> Outcome:
    """Go on with an interrupted run, or extend a finished one to more ``steps``.

    ``settings`` ("section.key=value") may change how the run is carried out, nothing that results depend on.

    Raises UsageError if another process is at it, ConfigError if there is nothing to do, CheckpointError;
    NumericsError if this machine computes otherwise than the run so far, and that is not allowed.
    """
    with locked(folder):
        config = carried_out_by(read_config(folder), folder, settings)
        if workers is not None:
            config = replace(config, runtime=replace(config.runtime, workers=workers))
        return _resume(folder, config, steps, command, watching, allow_other_numerics)


def _resume(
    folder: Path,
    config: Config,
    steps: int | None,
    command: str,
    watching: Watching,
    allow_other_numerics: bool,
) -> Outcome:
    finished = is_finished(folder, config)
    longer = extend(config, steps, finished)
    # A run that was stopped before its first checkpoint has lost nothing: it begins again.
    saved = finished or has_checkpoint(folder)
    metrics = make_metrics(watching.metrics_address)
    run = EmbeddedRun(folder.name, longer, folder, saved, metrics)
    if finished and run.start_steps >= run.context.clock.total_steps:
        raise ConfigError(
            f"the run '{folder.name}' is finished ({run.start_steps:,} steps per agent): "
            "to extend it, ask for more with --steps"
        )
    if not saved:
        run.notes.append(f"there is no checkpoint of the run '{folder.name}': starting from its beginning")
    if longer is not config:
        run.notes.append(
            f"extending to {longer.run.steps:,} steps per agent; the learning rate stays at its final "
            f"value, {config.ppo.final_learning_rate:g}, "
            f"the weight of the entropy at {config.ppo.final_entropy:g}"
        )
    with _served(metrics, folder, watching) as place:
        _prepare(run, folder, watching.quiet, allow_other_numerics)
        write_file(folder / CONFIG, longer.to_toml())
        for note in run.notes:
            print(f"note: {note}", file=sys.stderr)
        return _carry_out(run, folder, command, watching.quiet, place)


def carried_out_by(config: Config, folder: Path, settings: Sequence[str]) -> Config:
    """The configuration of the run in ``folder``, carried out under ``settings``. Raises ConfigError."""
    if not settings:
        return config
    wanted = load_config(str(folder / CONFIG), settings)
    changed = replace(config, runtime=wanted.runtime, domain=wanted.domain)
    other_results = fingerprint_of(changed) != fingerprint_of(config)
    if other_results or replace(wanted, preset=config.preset) != changed:
        free = ["[runtime]", *(f"domain.{key}" for key in machine_options(config.domain))]
        raise ConfigError(f"--set {' '.join(settings)}: a run that goes on may change {', '.join(free)} only")
    return changed


def is_finished(folder: Path, config: Config) -> bool:
    """Whether summary.json tells of the whole run: an extension in hand has that of the part before."""
    try:
        done = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["agent_steps"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(done == make_clock(config, make_domain(config.domain)).total_steps)


def _prepare(run: EmbeddedRun, folder: Path, quiet: bool, allow_other_numerics: bool) -> None:
    """Compile, and find out whether this process computes as the run does, before anything is changed."""
    try:
        run.context.metrics.health.waits("compiling kernels, where they are not yet")
        run.files.live.starting("starting: kernels are compiled where they are not yet, about a minute")
        compile_kernels(run.context.config, quiet)
        for note in join_run(run.context, "train", PARTS, allow_other_numerics):
            print(f"note: {note}", file=sys.stderr)
    except NumericsError:
        run.files.live.write(STOPPED)
        raise
    except KeyboardInterrupt:
        raise _interrupted(folder) from None


def _carry_out(run: EmbeddedRun, folder: Path, command: str, quiet: bool, place: str | None) -> Outcome:
    """``place``: where its metrics are served."""
    context, health = run.context, run.context.metrics.health
    with announced(context.metrics, place, folder.name, "train", "train"):
        try:
            with (
                _StopOnSignals(context.stop),
                ProgressView(context, context.phases.busy_with, quiet) as view,
            ):
                run.start()
                health.works(lambda: State("leaving" if context.stop.is_set() else "", "training"))

                def watch() -> None:
                    health.beat()
                    view.update()

                complete = run.wait(watch)
        except KeyboardInterrupt:
            raise _interrupted(folder) from None
        if not complete:
            return Outcome(folder, False, None)
        health.waits("training is done: writing the report")
        return Outcome(folder, True, run.files.finish(command))


def _interrupted(folder: Path) -> InterruptedRunError:
    return InterruptedRunError(
        f"ended at once; {folder} is as it was last saved. "
        f"Go on with: dials train --run {folder.name} --resume"
    )


@contextmanager
def _served(metrics: Metrics, folder: Path, watching: Watching) -> Iterator[str | None]:
    """Serve metrics and dashboard of the run in ``folder``, which may come later; yields where metrics are.

    Raises UsageError.
    """
    with ExitStack() as stack:
        place = stack.enter_context(served(metrics, watching.metrics_address))
        if watching.dashboard_address is not None:
            where = parse_address(watching.dashboard_address, "--dashboard")
            dashboard = serve(FolderSource(folder), where, option="--dashboard")
            stack.callback(dashboard.close)
            if not where.is_loopback:
                print(NO_PASSWORD, file=sys.stderr, flush=True)
            print(f"dashboard: {dashboard.url}", file=sys.stderr, flush=True)
        yield place


class _StopOnSignals(AbstractContextManager["_StopOnSignals"]):
    """The first Ctrl-C or SIGTERM stops the run in good order; a second Ctrl-C ends it at once."""

    _SIGNALS: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._first: float | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "_StopOnSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in self._SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is not None:
            if number == signal.SIGINT and now - self._first > SECOND_S:
                raise KeyboardInterrupt
            return
        self._first = now
        print("\nstopping: finishing the update in hand and saving ...", file=sys.stderr, flush=True)
        self._stop.set()
