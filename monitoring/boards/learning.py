"""Learning: returns beside hand-written policies, the health of PPO, and how old the experience is."""

from boards.board import Board, Row
from boards.panels import Query, heat, lines, number

_RUN = 'run="$run"'
_GROUP = 'run="$run", group=~"$group"'


def learning() -> Board:
    """The dashboard."""
    return Board(
        "dials-learning",
        "DIALS / Learning",
        "What is learned: returns on the global simulator, and whether PPO is in order.",
        [_glance(), _returns(), _ppo(), _versions()],
    )


def _return(actions: str) -> str:
    return f'max(dials_return{{{_RUN}, actions="{actions}"}})'


def _error(actions: str) -> str:
    return f'max(dials_return_standard_error{{{_RUN}, actions="{actions}"}})'


def _glance() -> Row:
    panels = [
        number(
            "Return, sampled",
            "Mean per agent and episode on the GS, actions drawn from the policies.",
            "none",
            _return("sampled"),
            low=None,
            decimals=2,
        ),
        number(
            "Return, greedy",
            "The same with the likeliest actions.",
            "none",
            _return("greedy"),
            low=None,
            decimals=2,
        ),
        number(
            "Standard error",
            "Of the sampled return: twice as much above or below is chance.",
            "none",
            _error("sampled"),
            decimals=3,
        ),
        number(
            "Best baseline",
            "Return of the best hand-written policy of this domain.",
            "none",
            f"max(dials_baseline_return{{{_RUN}}})",
            low=None,
            decimals=2,
        ),
        number("Evaluations", "Evaluations so far.", "none", f"max(dials_evaluations{{{_RUN}}})"),
        number(
            "Measured at",
            "Steps per agent of the version that was evaluated last.",
            "short",
            f"max(dials_evaluation_steps{{{_RUN}}})",
        ),
    ]
    return Row("At a glance", panels, width=4, height=4)


def _returns() -> Row:
    sampled, error = _return("sampled"), _error("sampled")
    panels = [
        lines(
            "Return",
            "Mean per agent and episode on the GS, with two standard errors; dashed: hand-written policies.",
            "none",
            Query(f"max by (actions) (dials_return{{{_RUN}}})", "{{actions}}"),
            Query(f"{sampled} + 2 * {error}", "above"),
            Query(f"{sampled} - 2 * {error}", "below"),
            Query(f"max by (policy) (dials_baseline_return{{{_RUN}}})", "baseline {{policy}}"),
            low=None,
            dashed="baseline.*",
            bands={"above": "below"},
        ),
        lines(
            "Return of each agent",
            "Sampled actions. One that stays behind may have a harder place, or be stuck.",
            "none",
            Query(f"max by (agent) (dials_agent_return{{{_RUN}}})", "agent {{agent}}"),
            low=None,
        ),
    ]
    return Row("Returns", panels, height=10)


def _ppo() -> Row:
    def by_group(
        title: str, description: str, unit: str, metric: str, low: float | None = 0, high: float | None = None
    ) -> object:
        query = Query(f"max by (group) ({metric}{{{_GROUP}}})", "group {{group}}")
        return lines(title, description, unit, query, low=low, high=high)

    panels = [
        by_group(
            "KL divergence",
            "Nats between the policies before and after an update. Far above 0.05: steps are too large.",
            "none",
            "dials_ppo_kl_nats",
            low=None,
        ),
        by_group(
            "Clip fraction",
            "Share of probability ratios that left the clip range. Above about 0.3: steps are too large.",
            "percentunit",
            "dials_ppo_clip_fraction",
            high=1,
        ),
        by_group(
            "Entropy",
            "Nats: how undecided the policies are. A fall to 0 early: they stopped to explore.",
            "none",
            "dials_ppo_entropy_nats",
        ),
        by_group(
            "Explained variance",
            "Of the value targets, by the critics. 1: they know what comes; 0: no better than the mean.",
            "none",
            "dials_ppo_explained_variance",
            low=None,
            high=1,
        ),
        by_group(
            "Gradient norm",
            "Mean before it is clipped.",
            "none",
            "dials_ppo_gradient_norm",
        ),
        by_group(
            "Policy loss",
            "Mean over the update. Its level says little, jumps do.",
            "none",
            "dials_ppo_policy_loss",
            low=None,
        ),
        by_group(
            "Value loss",
            "Mean over the update. It grows with the returns themselves.",
            "none",
            "dials_ppo_value_loss",
        ),
        by_group("Learning rate", "Of the last update.", "none", "dials_ppo_learning_rate"),
    ]
    return Row("Health of PPO, by group", panels, width=6)


def _versions() -> Row:
    lag = f"sum by (le) (rate(dials_policy_lag_versions_bucket{{{_GROUP}}}[$__rate_interval]))"
    age = f"sum by (le) (rate(dials_experience_age_seconds_bucket{{{_GROUP}}}[$__rate_interval]))"
    panels = [
        lines(
            "Policy version by group",
            "Committed updates. Groups need not go in step, except for a refresh at lag 0.",
            "none",
            Query(f"max by (group) (dials_run_policy_version{{{_GROUP}}})", "group {{group}}"),
        ),
        lines(
            "Policy lag",
            "Versions between the policy that acted and the one that learned, by message. 0 at lag 0.",
            "none",
            Query(f"run:dials_policy_lag_versions:mean1m{{{_RUN}}}", "mean"),
            Query(f"run:dials_policy_lag_versions:p95_1m{{{_RUN}}}", "p95"),
            Query(f"max(dials_run_max_policy_lag_versions{{{_RUN}}})", "allowed"),
            dashed="allowed",
        ),
        heat("Policy lag: spread", "Messages per second by lag, of the chosen groups.", "none", lag),
        lines(
            "Age of experience",
            "From the end of an episode to the update that uses it: the wait for the rest of the update.",
            "s",
            Query(f"histogram_quantile(0.5, {age})", "p50"),
            Query(f"histogram_quantile(0.95, {age})", "p95"),
            Query(f"run:dials_experience_age_seconds:mean5m{{{_RUN}}}", "mean"),
        ),
    ]
    return Row("Versions and lag", panels)
