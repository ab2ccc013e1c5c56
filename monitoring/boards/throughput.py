"""Throughput: how fast the run learns, what its threads do, what waits for what, what passes the queues."""

from boards.board import Board, Row
from boards.panels import BAD, GOOD, WARN, Query, heat, lines, number

_RUN = 'run="$run"'
_GROUP = 'run="$run", group=~"$group"'


def throughput() -> Board:
    """The dashboard."""
    return Board(
        "dials-throughput",
        "DIALS / Throughput",
        "How fast a run learns, and what it waits for.",
        [_glance(), _speed(), _waits(), _durations(), _messages()],
    )


def _glance() -> Row:
    remaining = f"(max(dials_run_steps{{{_RUN}}}) - max(dials_run_committed_steps{{{_RUN}}}))"
    pace = f"max(dials_run_seconds{{{_RUN}}}) / (max(dials_run_committed_steps{{{_RUN}}}) > 0)"
    trained = f'run_purpose_simulator:dials_agent_steps_simulated:rate1m{{{_RUN}, purpose="train"}}'
    panels = [
        number(
            "Progress",
            "Steps per agent that are committed, of all that the run will make.",
            "percentunit",
            f"run:dials_run_progress:ratio{{{_RUN}}}",
            high=1,
        ),
        number(
            "Time left",
            "At the average pace so far, refreshes and evaluations included.",
            "s",
            f"clamp_min({remaining} * {pace}, 0)",
        ),
        number(
            "Running for", "Without the pauses between sessions.", "s", f"max(dials_run_seconds{{{_RUN}}})"
        ),
        number(
            "Learned",
            "Agent-steps per second in committed updates, over the last minute; 0 during a refresh at lag 0.",
            "short",
            f"run:dials_agent_steps_learned:rate1m{{{_RUN}}}",
        ),
        number(
            "Simulated",
            "Agent-steps per second of rollouts, over the last minute. More than learned: some are not used.",
            "short",
            f"sum({trained})",
        ),
        number("Agents", "Agents of the run.", "short", f"max(dials_run_agents{{{_RUN}}})"),
    ]
    return Row("At a glance", panels, width=4, height=4)


def _speed() -> Row:
    simulated = f"sum by (purpose) (rate(dials_agent_steps_simulated_total{{{_RUN}}}[$__rate_interval]))"
    panels = [
        lines(
            "Agent-steps per second",
            "What committed updates used, beside what was simulated, by purpose.",
            "short",
            Query(f"sum(rate(dials_agent_steps_learned_total{{{_RUN}}}[$__rate_interval]))", "learned"),
            Query(simulated, "simulated to {{purpose}}"),
        ),
        lines(
            "Steps per agent",
            "Committed so far, and the end of the run.",
            "short",
            Query(f"max(dials_run_committed_steps{{{_RUN}}})", "committed"),
            Query(f"max(dials_run_steps{{{_RUN}}})", "end of the run"),
            dashed="end of the run",
        ),
        lines(
            "Busy threads by phase",
            "1 is one core's worth: collect and aip make a refresh, evaluate runs beside the training.",
            "short",
            Query(
                f"sum by (phase) (rate(dials_phase_seconds_total{{{_RUN}}}[$__rate_interval]))", "{{phase}}"
            ),
            stacked=True,
        ),
        lines(
            "Learned by group",
            "Agent-steps per second of each group: groups of equal size should learn equally fast.",
            "short",
            Query(
                f"sum by (group) (rate(dials_agent_steps_learned_total{{{_GROUP}}}[$__rate_interval]))",
                "group {{group}}",
            ),
        ),
    ]
    return Row("Speed", panels)


def _waits() -> Row:
    share = ((None, GOOD), (0.95, WARN))
    panels = [
        lines(
            "Learners wait for",
            "Share of their time. Experience: more workers would help. AIPs: a refresh is being made.",
            "percentunit",
            Query(
                "sum by (group, reason) "
                f"(rate(dials_learner_wait_seconds_total{{{_GROUP}}}[$__rate_interval]))",
                "group {{group}}: {{reason}}",
            ),
            high=1,
            limits=share,
        ),
        lines(
            "Rollout workers wait for",
            "Share of their time, all workers. Task: more workers than work. Room: the learners are slow.",
            "percentunit",
            Query(f"run_reason:dials_worker_wait:share1m{{{_RUN}}}", "{{reason}}"),
            high=1,
        ),
    ]
    return Row("Waiting", panels)


def _durations() -> Row:
    rollout = f"sum by (le) (rate(dials_rollout_seconds_bucket{{{_RUN}}}[$__rate_interval]))"
    update = f"sum by (le) (rate(dials_update_seconds_bucket{{{_GROUP}}}[$__rate_interval]))"
    panels = []
    for title, what, buckets in (
        ("Rollout task", "to simulate one task of whole episodes", rollout),
        ("Update", "to learn one update of a group, all its epochs", update),
    ):
        panels += [
            lines(
                f"{title}: duration",
                f"Time {what}: the median, and what 95 % stay below; approximate.",
                "s",
                Query(f"histogram_quantile(0.5, {buckets})", "p50"),
                Query(f"histogram_quantile(0.95, {buckets})", "p95"),
            ),
            heat(f"{title}: spread", f"How often it took how long {what}.", "s", buckets),
        ]
    return Row("Durations", panels)


def _messages() -> Row:
    panels = []
    for title, way, metric in (
        ("Messages out", "published", "dials_messages_published"),
        ("Messages in", "received, second deliveries too", "dials_messages_received"),
    ):
        for unit, suffix, words in (("cps", "_total", "Messages"), ("Bps", "_bytes_total", "Bytes")):
            rate = f"sum by (queue) (rate({metric}{suffix}{{{_RUN}}}[$__rate_interval]))"
            name = title if suffix == "_total" else title.replace("Messages", "Bytes")
            panels.append(
                lines(name, f"{words} {way} per second, by kind of queue.", unit, Query(rate, "{{queue}}"))
            )
    panels += [
        lines(
            "Waiting messages, as the run sees them",
            "Tasks that wait are missing workers; experience that waits is learners at their limit.",
            "short",
            Query(f"max by (queue) (dials_queue_messages{{{_RUN}}})", "{{queue}}"),
        ),
        lines(
            "Waiting messages, as RabbitMQ sees them",
            "The same from the server, dead letters too. Empty for a run in one process.",
            "short",
            Query(f"run_kind:rabbitmq_queue_messages_ready:sum{{{_RUN}}}", "{{kind}}"),
        ),
        lines(
            "Consumers of queues",
            "Connections that take from the queues, says RabbitMQ. None at rollout_tasks: no worker.",
            "short",
            Query(f"run_kind:rabbitmq_queue_consumers:sum{{{_RUN}}}", "{{kind}}"),
        ),
        lines(
            "Refused by full queues",
            "Publications per second that are tried again. More than now and then: learners do not keep up.",
            "cps",
            Query(
                f"sum by (queue) (rate(dials_messages_refused_total{{{_RUN}}}[$__rate_interval]))",
                "{{queue}}",
            ),
            limits=((None, GOOD), (1, BAD)),
        ),
    ]
    return Row("Messages", panels)
