"""Runs what an experiment lacks: each trial is a ``dials train`` of its own, skipped, resumed or begun.

A trial that some experiment's tables hold already, made with the same settings, is done, wherever it ran:
runs may be deleted, their rows are enough to go on from.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dials_async.errors import DialsError, InterruptedRunError, TrainingError
from dials_async.experiments.catalogue import Trial
from dials_async.experiments.fidelity import fidelity
from dials_async.experiments.memory import MemoryWatch, larger, memory_rows
from dials_async.experiments.tables import Tables, read_tables, tables_of_run
from dials_async.experiments.theory import theory
from dials_async.run_folder import CONFIG, SUMMARY, read_config, runs_root, write_json
from dials_async.runtime.files import has_checkpoint
from dials_async.runtime.wiring import fingerprint_of

#: What the processes of a trial cost, over all sessions whose end we saw; in the run's folder.
COST = "cost.json"

#: Exit code of a ``dials train`` that was stopped in good order.
_STOPPED = 130

Say = Callable[[str], None]

_ANALYSES = {"fidelity": fidelity, "theory": theory}


def experiment_runs() -> Path:
    """Where the runs of experiments are kept: a folder beside the other runs."""
    return runs_root() / "experiments"


def known_tables(results: Path) -> list[Tables]:
    """The tables of all experiments under ``results``. Raises UsageError."""
    return [read_tables(path.parent) for path in sorted(results.glob("*/runs.csv"))]


def is_done(trial: Trial, known: Tables, analysis: str | None = None) -> bool:
    """Whether one experiment has ``trial`` in its tables, with its settings of now, and the ``analysis``."""
    row = known.finished().get(trial.name)
    if row is None or row["fingerprint"] != trial.fingerprint:
        return False
    return analysis is None or bool(known.of(analysis, trial.name))


def run_trials(
    trials: list[Trial], results: Path, folder: Path, say: Say, analysis: str | None = None
) -> Tables:
    """Run the trials that are missing; the tables in ``folder`` are brought up to date after each of them.

    Args:
        trials: of the experiment, in the order in which they are to run.
        results: folder of all experiments' tables.
        folder: of this experiment's tables.
        say: takes lines of progress.
        analysis: of each finished run, one of ``ANALYSES``.

    Raises:
        InterruptedRunError: stopped by Ctrl-C; what was done is kept.
        TrainingError: some trials failed; the others ran.
    """
    others, tables = known_tables(results), read_tables(folder)
    missing: list[Trial] = []
    for trial in trials:
        if is_done(trial, tables, analysis):
            continue
        known = next((other for other in others if is_done(trial, other, analysis)), None)
        if known:
            tables.replace(known.only(analysis), trial.name)
        else:
            missing.append(trial)
    say(f"{len(trials)} runs, {len(trials) - len(missing)} of them done before")
    tables.write(folder)
    failed, began = [], time.monotonic()
    for done, trial in enumerate(missing):
        left = _time_left(time.monotonic() - began, done, len(missing))
        say(f"[{len(trials) - len(missing) + done + 1}/{len(trials)}] {trial.name}{left}")
        try:
            found = _tables_of(trial, _run(trial), analysis)
        except InterruptedRunError:
            raise
        except DialsError as error:
            say(f"  failed: {error}")
            failed.append(trial.name)
            continue
        tables.replace(found, trial.name)
        tables.write(folder)
        row = tables.finished()[trial.name]
        say(f"  return {float(row['return_mean']):.4g} in {float(row['wall_seconds']):,.0f} s")
    if failed:
        raise TrainingError(
            f"{len(failed)} of {len(trials)} runs failed ({', '.join(failed)}); the others are kept, "
            "and drawn by --redraw"
        )
    return tables


def _time_left(seconds: float, done: int, wanted: int) -> str:
    """A guess from the runs so far."""
    if not done:
        return ""
    minutes = seconds / done * (wanted - done) / 60
    return f" (about {minutes:,.0f} min left)"


def _run(trial: Trial) -> Path:
    """Begin or go on with the run of ``trial`` until it is finished. Returns its folder."""
    folder = experiment_runs() / trial.name
    arguments = trial.arguments
    if (folder / CONFIG).exists():
        config = read_config(folder)
        if f"{fingerprint_of(config)}-{config.run.steps}" != trial.fingerprint:
            raise TrainingError(f"{folder} holds a run with other settings than it has now: move it away")
        if (folder / SUMMARY).exists():
            return folder
        if has_checkpoint(folder):
            arguments = ["--run", trial.name, "--resume"]
        else:  # cut off before anything was saved
            shutil.rmtree(folder)
    elif folder.exists():  # or before its settings were
        shutil.rmtree(folder)
    code, cost = _train(arguments)
    if folder.exists():
        _add_cost(folder / COST, cost)
    if code == _STOPPED:
        raise InterruptedRunError("stopped; the same command goes on where it was")
    if code != 0 or not (folder / SUMMARY).exists():
        raise TrainingError(f"dials train ended with exit code {code}")
    return folder


def _train(arguments: Iterable[str]) -> tuple[int, dict[str, Any]]:
    """Exit code and cost of one ``dials train``; its progress goes to our terminal, if there is one."""
    command = [sys.executable, "-m", "dials_async", "train", *arguments]
    if not sys.stderr.isatty():
        command.append("--quiet")
    environment = {**os.environ, "DIALS_RUNS": str(experiment_runs()), "DIALS_METRICS_ADDRESS": "off"}
    told: list[int] = []
    pids: list[int] = []

    def pass_on() -> None:
        for pid in pids:
            # A terminal sends Ctrl-C to the run too, and a second one would end it at once: SIGTERM does not.
            # Popen.terminate() may reap the run, whose usage wait4() would then never tell.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def stop(number: int, _: object) -> None:
        told.append(number)
        pass_on()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
        watch = MemoryWatch(process.pid)
        pids.append(process.pid)
        if told:  # while it was being started
            pass_on()
        _, status, usage = os.wait4(process.pid, 0)
        pids.clear()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    memory = watch.stop()
    process.returncode = os.waitstatus_to_exitcode(status)
    # Told before it could save anything, a run ends with another code: it was stopped all the same.
    return _STOPPED if told else process.returncode, {
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "memory": memory,
    }


def _add_cost(path: Path, cost: Mapping[str, Any]) -> None:
    before = _cost(path)
    write_json(
        path,
        {
            "cpu_seconds": (before["cpu_seconds"] or 0.0) + cost["cpu_seconds"],
            "memory": larger(before["memory"], cost["memory"]),
        },
    )


def _cost(path: Path) -> dict[str, Any]:
    """What is known: nothing of a run that something else made."""
    cost: dict[str, Any] = {"cpu_seconds": None, "memory": {}}
    if path.exists():
        cost.update(json.loads(path.read_text(encoding="utf-8")))
    return cost


def _tables_of(trial: Trial, folder: Path, analysis: str | None) -> Tables:
    summary: dict[str, Any] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    about = {
        "trial": trial.name,
        "preset": trial.preset,
        "simulator": trial.simulator,
        "variant": trial.variant.name,
        "seed": trial.seed,
        "fingerprint": trial.fingerprint,
    }
    cost = _cost(folder / COST)
    found: dict[str, Sequence[Mapping[str, Any]]] = {"memory": memory_rows(cost["memory"])}
    if analysis:
        found[analysis] = _ANALYSES[analysis](folder)
    if trial.variant.projected_steps:  # its few episodes are no measure of scripted policies
        summary.update(baselines={}, published={})
    return tables_of_run(about, summary, cost["cpu_seconds"], folder, found)
