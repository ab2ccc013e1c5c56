"""Why a run makes no progress, or will soon make none: derived from what ``dials status`` knows."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from dials_async.learning.progress import UNMOVED_UPDATES, WITHOUT_EFFECT
from dials_async.report.words import duration
from dials_async.store.redis.runs import COMPLETE

#: Seconds without a commit of a group after which the run stands still.
STANDS_STILL_S = 300.0

#: Where a process waits for what it works on: no cause by itself.
_IDLE = ("waiting for a task", "starting", "done")


def reasons(status: Mapping[str, Any]) -> list[str]:
    """Why a run makes no progress, or will soon make none; empty if all is well."""
    if status["state"] == COMPLETE:
        return []
    found = list(filter(None, [standstill(status)]))
    if status["redis_refuses"]:
        found.append(f"Redis refuses writes for now: {status['redis_refuses']}; all processes wait for it")
    waiting_for: dict[str, list[str]] = {}
    for process in status["processes"]:
        for what in process["waits_for"] or ():
            waiting_for.setdefault(what, []).append(process["name"])
    found += [f"{what}; {', '.join(names)} wait for it" for what, names in sorted(waiting_for.items())]
    roles = Counter(process["role"] for process in status["processes"])
    learning_left = status["steps_done"] < status["steps"]
    if learning_left and not roles["rollout"]:
        waiting = status["queues"]["rollout tasks"] + status["queues"]["GS tasks"]
        tasks = f": {waiting} tasks wait" if waiting else ""
        found.append(f"no rollout worker{tasks} ('dials worker rollout')")
    for group in status["groups"]:
        if group["learner"] is None and group["version"] < status["updates"]:
            found.append(f"no learner for group {group['group']} ('dials worker learner')")
        elif group["doing"].startswith("waiting for AIP"):
            what = "no gs-sampler ('dials worker gs-sampler')" if not roles["gs-sampler"] else "it is in work"
            found.append(f"group {group['group']} is {group['doing']}: {what}")
        elif group["doing"].startswith("waiting for the evaluator") and roles["evaluator"]:
            found.append(f"group {group['group']} is {group['doing']}")
        if group["unmoved"] >= UNMOVED_UPDATES:
            found.append(f"an agent of group {group['group']}: {group['unmoved']} {WITHOUT_EFFECT}")
    refreshes_left = status["aip_version"] < status["aip_refreshes"]
    if (
        learning_left
        and refreshes_left
        and not roles["gs-sampler"]
        and not any("gs-sampler" in reason for reason in found)
    ):
        found.append("no gs-sampler: the next refresh will not come ('dials worker gs-sampler')")
    evaluation = status["last_evaluation"]
    if not roles["evaluator"] and not (evaluation and evaluation["final"] and not learning_left):
        found.append("no evaluator: versions wait to be evaluated ('dials worker evaluator')")
    if not roles["keeper"]:
        found.append("no keeper: no checkpoints on disk, no report ('dials worker keeper')")
    if status["dead_letters"]:
        found.append(
            f"{status['dead_letters']} dead letters: rejected messages "
            f"('dials dead-letters {status['run']}' says why)"
        )
    found += [f"refused {reason}" for reason in status["refused"]]
    found += [f"an entry of processes in Redis is damaged: {reason}" for reason in status["damaged"]]
    if status["not_reproducible"]:
        found.append(status["not_reproducible"])
    versions = {process["code"] for process in status["processes"]}
    if len(versions) > 1:
        found.append(f"processes run different versions of the code: {', '.join(sorted(versions))}")
    return found


def standstill(status: Mapping[str, Any]) -> str:
    """Since when and why, in words; "" if each group whose learning is not done has learned lately."""
    groups = status["groups"]
    left = [group for group in groups if group["version"] < status["updates"]]
    group = min(left or groups, key=lambda row: (row["learned_s"], row["group"]))
    since = group["learned_s"] if left else max(row["learned_s"] for row in groups)
    for_s = status["seconds_with_pause"] - since
    if for_s < STANDS_STILL_S:
        return ""
    if not left:
        evaluation = status["last_evaluation"]
        role = "keeper" if evaluation and evaluation["final"] else "evaluator"
        return f"no progress for {duration(for_s)} (all is learned), because {_at_work(role, status)}"
    where = f"group {group['group']} is at version {group['version']} of {status['updates']}"
    return f"no progress for {duration(for_s)} ({where}), because {_because(status, group)}"


def _because(status: Mapping[str, Any], group: Mapping[str, Any]) -> str:
    """The first cause on the way from the learner to what it waits for."""
    outages = sorted({what for process in status["processes"] for what in process.get("waits_for") or ()})
    doing, number = group["doing"], group["group"]
    if status["state"] == "failed":
        return f"the run has failed: {status['note']}"
    if status.get("redis_refuses"):
        return f"Redis refuses writes: {status['redis_refuses']}"
    if outages:
        return f"processes wait for a server: {'; '.join(outages)}"
    if group["learner"] is None:
        return _missing("learner", status) + f" for group {number}"
    if doing.startswith("waiting for AIP"):
        return f"it is {doing}, and {_at_work('gs-sampler', status)}"
    if doing.startswith("waiting for the evaluator"):
        return f"it is {doing}, and {_at_work('evaluator', status)}"
    if not doing.startswith("collecting experience"):
        return f"its learner {group['learner']} is {doing}"
    # Who makes the experience that it collects?
    roles = {process["role"] for process in status["processes"]}
    asks = status["simulator"] == "gs" and "gs-sampler" not in roles  # there the sampler asks for it
    maker = "gs-sampler" if asks else "rollout"
    tasks = status["queues"]["rollout tasks"] + status["queues"]["GS tasks"]
    if status["queues"]["experience"]:
        return (
            f"{status['queues']['experience']} messages of experience wait for its learner {group['learner']}"
        )
    if maker not in roles or tasks:
        return f"{_at_work(maker, status)}; {tasks} tasks wait"
    return f"{_at_work(maker, status)}; no task waits: learners ask again after a minute"


def _at_work(role: str, status: Mapping[str, Any]) -> str:
    """What the processes of ``role`` do, those that do something first; or that there is none."""
    there = [process for process in status["processes"] if process["role"] == role]
    if not there:
        return f"there is {_missing(role, status)}"
    process = min(there, key=lambda each: str(each["doing"]).startswith((*_IDLE, "standing by")))
    others = f" (as 1 of {len(there)})" if len(there) > 1 else ""
    return f"the {role} {process['name']} on {process['host']} is: {process['doing']}{others}"


def _missing(role: str, status: Mapping[str, Any]) -> str:
    """That there is nobody of ``role``, with those that were refused; their names tell what they are."""
    refused = [line for line in status["refused"] if line.replace("_", "-").startswith(role)]
    return f"no {role}" + (f" ({len(refused)} refused: {refused[0]})" if refused else "")
