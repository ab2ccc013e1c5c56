"""``dials init``: make a run in Redis and RabbitMQ: new, from a checkpoint on disk, or longer than it was."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

from dials_async.addresses import amqp_url, redis_url
from dials_async.config import Config
from dials_async.distributed.connection import RETRY_S, in_short, open_context, read_config
from dials_async.errors import (
    BrokerError,
    ConfigError,
    DialsError,
    RefusedError,
    RunExistsError,
    RunNotFoundError,
    StoreError,
    UnreachableError,
)
from dials_async.learning.backends import update_of
from dials_async.messaging.broker import QueueNames
from dials_async.messaging.opening import open_broker
from dials_async.metrics.targets import forget_run
from dials_async.run_context import RunContext
from dials_async.run_folder import CONFIG, run_path
from dials_async.run_folder import read_config as read_saved_config
from dials_async.runtime.files import has_checkpoint, restore_checkpoint
from dials_async.runtime.numerics import PARTS, join_run
from dials_async.runtime.training import is_finished
from dials_async.runtime.warmup import compile_kernels
from dials_async.runtime.wiring import committed_steps, delete_queues, extend, fingerprint_of
from dials_async.store.opening import open_registry
from dials_async.store.redis.runs import COMPLETE, CREATING, FAILED, INITIALISED, RunRegistry

#: Stands for no run, in a look at whether RabbitMQ is there.
_PROBE = QueueNames("dials-probe", "0")


def wait_for_servers(wait_s: float, say: Callable[[str], None]) -> None:
    """Return once RabbitMQ and Redis answer; ``say`` is told once what is waited for.

    Raises UnreachableError if one does not within ``wait_s``, RefusedError if it refuses.
    """
    deadline, said = time.monotonic() + wait_s, ""
    while True:
        try:
            open_registry(redis_url()).close()
            probe = open_broker(amqp_url(), _PROBE, Event())
            probe.delete(_PROBE.dead)
            probe.close()
            return
        except UnreachableError as error:
            if time.monotonic() >= deadline:
                raise
            if (why := in_short(error)) != said:
                said = why
                say(f"waiting: {why}")
        except (BrokerError, StoreError) as error:
            raise RefusedError(str(error)) from None
        time.sleep(RETRY_S)


def create(run: str, config: Config) -> list[str]:
    """Make a new run. Returns what the user should know. Raises RunExistsError, UsageError, StoreError."""
    folder = run_path(run)
    registry = open_registry(redis_url())
    try:
        if folder.exists() and not _is_left_by(registry, run, folder):
            raise RunExistsError(f"{folder} exists: choose another --run, or go on with it (--resume)")
        update_of(config.ppo.backend)  # what is missing here is said before the run exists
        compile_kernels(config)
        if _is_there(registry, run):
            raise RunExistsError(
                f"a run '{run}' exists in Redis: choose another --run, go on with it (--resume), "
                f"or remove it ('dials forget {run}')"
            )
        if folder.exists():
            shutil.rmtree(folder)
        return _fill(registry, run, config)
    finally:
        registry.close()


def resume(
    run: str, config: Config | None, steps: int | None, allow_other_numerics: bool = False
) -> list[str]:
    """Go on with a run, as Redis has it, else from its newest checkpoint; a finished one to ``steps``.

    ``config``, if given, must be the one that the run has. Returns what the user should know.
    Raises RunNotFoundError, ConfigError, CheckpointError, NumericsError, StoreError.
    """
    registry = open_registry(redis_url())
    try:
        if _is_there(registry, run):
            known = read_config(registry, run)
            notes = _require_same(run, known, config)
            compile_kernels(known)
            return [*notes, *_go_on(registry, run, known, steps)]
        folder = run_path(run)
        if not (folder / CONFIG).exists():
            raise RunNotFoundError(f"no run '{run}': neither in Redis nor in {folder.parent}")
        saved = read_saved_config(folder)
        notes = _require_same(run, saved, config)
        finished = is_finished(folder, saved)
        longer = extend(saved, steps, finished)
        if finished and longer is saved:
            raise _finished_error(run, saved)
        compile_kernels(longer)
        return [*notes, *_fill(registry, run, longer, allow_other_numerics)]
    finally:
        registry.close()


def exists(run: str) -> bool:
    """Whether ``resume`` would find the run. Raises StoreError."""
    registry = open_registry(redis_url())
    try:
        in_redis = _is_there(registry, run)
    finally:
        registry.close()
    return in_redis or (run_path(run) / CONFIG).exists()


def forget(run: str) -> None:
    """Remove a run from Redis and RabbitMQ, and from what Prometheus reads; runs/NAME stays.

    Raises RunNotFoundError, BrokerError or StoreError, but for Prometheus it is gone then too: an embedded
    run that was killed is in no Redis.
    """
    targets = forget_run(run)
    try:
        _forget(run)
    except DialsError as error:
        if targets:
            raise type(error)(f"{error} (Prometheus no longer looks for its processes)") from None
        raise


def _forget(run: str) -> None:
    registry = open_registry(redis_url())
    try:
        context = open_context(run, read_config(registry, run), Event())
        try:
            _delete_lives(context)
        finally:
            context.close()
        registry.delete(run)
    finally:
        registry.close()


def _delete_lives(context: RunContext, but: str = "") -> None:
    """Remove the queues of all lives of the run, ``but`` those of one."""
    lives = {record["id"] for record in context.store.records("lives")} | {context.store.life}
    for life in lives - {but}:
        delete_queues(context, QueueNames(context.name, life))


def _is_there(registry: RunRegistry, run: str) -> bool:
    """Whether Redis has the run, and not just the beginning of one that was cut off or failed."""
    return (
        run in registry.names()
        and registry.status(run).state != CREATING
        and not _failed_at_start(registry, run)
    )


def _failed_at_start(registry: RunRegistry, run: str) -> bool:
    """Whether the run has failed before any group had its version 0: nothing of it is worth keeping."""
    if registry.status(run).state != FAILED:
        return False
    context = open_context(run, read_config(registry, run), Event())
    try:
        return all(context.store.group_version(group.index) < 0 for group in context.groups)
    finally:
        context.close()


def _is_left_by(registry: RunRegistry, run: str, folder: Path) -> bool:
    """Whether ``folder`` is what the keeper of a run that failed at its start has left."""
    return (
        run in registry.names()
        and _failed_at_start(registry, run)
        and not has_checkpoint(folder)
        and (folder / CONFIG).exists()
        and fingerprint_of(read_saved_config(folder)) == registry.fingerprint(run)
    )


def _go_on(registry: RunRegistry, run: str, known: Config, steps: int | None) -> list[str]:
    finished = registry.status(run).state == COMPLETE
    longer = extend(known, steps, finished)
    if longer is known and finished:
        raise _finished_error(run, known)
    if longer is not known:
        registry.replace_config(run, longer.to_toml())
        registry.set_status(run, INITIALISED)
        return [f"extending the run '{run}' to {longer.run.steps:,} steps per agent"]
    return [f"the run '{run}' is in Redis: its processes go on where they were"]


def _finished_error(run: str, config: Config) -> ConfigError:
    return ConfigError(
        f"the run '{run}' is finished ({config.run.steps:,} steps per agent): extend it with "
        f"'dials init --run {run} --resume --steps N', or choose another name for a new one"
    )


def _fill(registry: RunRegistry, run: str, config: Config, allow_other_numerics: bool = False) -> list[str]:
    """Create the run in Redis and its queues; from its newest checkpoint if there is one."""
    folder = run_path(run)
    if run in registry.names() and registry.status(run).state == FAILED:
        _forget(run)  # its queues, too
    registry.delete(run)  # what a creation that was cut off has left
    registry.create(run, config.to_toml(), fingerprint_of(config), state=CREATING)
    notes: list[str] = []
    try:
        context = open_context(run, config, Event())
        try:
            seconds = 0.0
            if has_checkpoint(folder):
                notes += restore_checkpoint(context.store, folder, fingerprint_of(config))
                seconds = _restore_counts(registry, run, context.store.records("sessions"))
                steps = min(committed_steps(context).values())
                notes.append(f"going on from the checkpoint of {folder}, at {steps:,} steps per agent")
            try:
                notes += join_run(context, "init", PARTS, allow_other_numerics)
            except BaseException:
                delete_queues(context, context.queues)
                raise
            context.store.append_record("lives", {"id": context.store.life})
            _delete_lives(context, but=context.store.life)
        finally:
            context.close()
        registry.start_clock(run, seconds)
    except BaseException:
        registry.delete(run)
        raise
    registry.set_status(run, INITIALISED)
    return notes


def _restore_counts(registry: RunRegistry, run: str, sessions: list[dict[str, object]]) -> float:
    """Seconds of the sessions before; what their processes did is announced as one that has left."""
    if not sessions:
        return 0.0
    last = sessions[-1]
    facts = {"name": "earlier", "role": "earlier sessions", "left": True}
    facts |= {"phases": last["phases"], "cpu_phases": last.get("cpu_phases", {})}
    registry.announce(run, "earlier", facts)
    return float(str(last["seconds"]))


def _require_same(run: str, known: Config, given: Config | None) -> list[str]:
    """A note if ``given`` asks for another number of steps. Raises ConfigError if it differs otherwise."""
    if given is not None and given.fingerprint() != known.fingerprint():
        raise ConfigError(
            f"the run '{run}' exists with other settings: choose another name, or remove it "
            f"('dials forget {run}', and its folder)"
        )
    if given is not None and given.run.steps != known.run.steps:
        return [
            f"the run '{run}' has {known.run.steps:,} steps per agent, not {given.run.steps:,}: once it is "
            f"finished, 'dials init --run {run} --resume --steps N' extends it"
        ]
    return []
