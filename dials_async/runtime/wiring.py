"""From a configuration to the context of a process: what an embedded run and every daemon have in common."""

from dataclasses import replace

from dials_async.clock import make_clock
from dials_async.config import Config
from dials_async.domains.registry import make_domain, result_options
from dials_async.errors import ConfigError
from dials_async.groups import Group, make_groups
from dials_async.messaging.broker import Broker, QueueNames
from dials_async.messaging.metered import MeteredBroker
from dials_async.metrics.instruments import Metrics
from dials_async.run_context import RunContext
from dials_async.runtime.machine import code_version, library_versions
from dials_async.store.base import KeepRules, Store

#: AIP versions kept: the evaluator may be this many refreshes behind.
KEPT_AIPS = 8


def fingerprint_of(config: Config) -> str:
    """Hash of all that a checkpoint must agree with; of the domain, all that results depend on."""
    return replace(config, domain=result_options(config.domain)).fingerprint()


def extend(config: Config, steps: int | None, finished: bool) -> Config:
    """The configuration of a finished run that goes on to ``steps``. Raises ConfigError."""
    if steps is None or steps == config.run.steps:
        return config
    if steps < config.run.steps:
        raise ConfigError(
            f"--steps {steps} is less than the {config.run.steps} that the run was started with"
        )
    if not finished:
        raise ConfigError(
            f"the run was started with {config.run.steps} steps and is not finished: "
            "resume it without --steps first"
        )
    # The schedules of the first part stay what they were: the rate goes on at its final value.
    return replace(
        config,
        run=replace(config.run, steps=steps),
        ppo=replace(config.ppo, schedule_steps=config.schedule_steps),
        schedule=replace(config.schedule, eval_steps=config.eval_steps),
    )


def keep_rules(config: Config) -> KeepRules:
    """How many versions the store of this run keeps."""
    # At lag L a worker may still read what was the newest L versions ago; one more for the task in hand.
    return KeepRules(max(KeepRules.keep_last, config.rollout.max_policy_lag + 2), KEPT_AIPS)


def make_context(
    name: str, config: Config, broker: Broker, store: Store, metrics: Metrics | None = None
) -> RunContext:
    """One process's view of the run, counted by ``metrics``, if given.

    Raises ConfigError if the configuration does not fit together.
    """
    domain = make_domain(config.domain)
    if config.run.simulator == "gs" and config.rollout.max_policy_lag:
        raise ConfigError(
            "rollout.max_policy_lag must be 0 with the simulator 'gs': its groups move in lock-step"
        )
    groups, clock = make_groups(config, domain), make_clock(config, domain)
    configuration = fingerprint_of(config)
    if metrics is None or not metrics.counting:
        return RunContext(name, config, domain, groups, clock, broker, store, configuration)
    metered = MeteredBroker(broker, metrics)
    context = RunContext(name, config, domain, groups, clock, metered, store, configuration, metrics=metrics)
    metrics.build.info({"code": code_version(), **library_versions()})
    metrics.count_phases(context.phases)
    metrics.watch("broker", broker)
    metrics.watch("store", store)
    return context


def task_queues(context: RunContext) -> dict[str, int]:
    """The queues of tasks and the most messages that may wait in each."""
    tasks = _tasks_in_flight(context)
    # Credits bound what is in flight; twice that leaves room for tasks that are asked for again.
    return {
        context.queues.rollout_tasks: 2 * tasks * len(context.groups) + 16,
        context.queues.gs_tasks: 2 * tasks + 16,
    }


def experience_queues(context: RunContext) -> dict[str, int]:
    """The queues of experience, one for each agent, and the most messages that may wait in each."""
    bound = 2 * _tasks_in_flight(context) + 16
    return {context.queues.experience(agent): bound for agent in range(context.domain.n_agents)}


def _tasks_in_flight(context: RunContext) -> int:
    rollout = context.config.rollout
    return (rollout.max_policy_lag + 1) * rollout.tasks_per_update


def declare_queues(context: RunContext) -> None:
    """Make the queues of the run exist; done by every process, so that any of them mends a lost one."""
    for queue, max_messages in task_queues(context).items():
        context.broker.declare(queue, max_messages)
    for queue, max_messages in experience_queues(context).items():
        # One learner has a group at a time: the next one is served when it is gone.
        context.broker.declare(queue, max_messages, single_consumer=True)


def delete_queues(context: RunContext, names: QueueNames) -> None:
    """Remove the queues of a life of the run, and what is in them, its dead letters too."""
    agents = range(context.domain.n_agents)
    for queue in (names.rollout_tasks, names.gs_tasks, *map(names.experience, agents), names.dead):
        context.broker.delete(queue)


def committed_steps(context: RunContext) -> dict[Group, int]:
    """Steps per agent that each group has committed."""
    store, clock = context.store, context.clock
    return {group: clock.steps(max(0, store.group_version(group.index))) for group in context.groups}


def is_complete(context: RunContext) -> bool:
    """Whether every group made its last update and that version is evaluated."""
    total, store = context.clock.total_steps, context.store
    evaluated = any(record["final"] and record["steps"] == total for record in store.records("evaluations"))
    versions = [store.group_version(group.index) for group in context.groups]
    return evaluated and min(versions) >= context.clock.n_updates
