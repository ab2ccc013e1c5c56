"""``dials dead-letters``: what was rejected in a run and why; back to the queues with it, or away."""

import time
from collections import Counter
from collections.abc import Sequence
from threading import Event
from typing import Any

from dials_async.distributed.connection import connect
from dials_async.messaging.broker import DeadLetter
from dials_async.messaging.readable import describe, printable
from dials_async.report.words import duration

#: Rows of the table; hostile senders can make every reason another one.
MOST_ROWS = 20


def look(
    run: str, show: int = 0, oldest: bool = False, requeue: bool = False, drop: bool = False
) -> dict[str, Any]:
    """The dead letters of the newest life of ``run`` as plain data, then requeued or dropped if so asked.

    The newest (or ``oldest``) ``show`` of them with their fields. Raises RunNotFoundError, BrokerError.
    """
    connection = connect(run, Event())
    try:
        broker = connection.context.broker
        letters = broker.dead_letters()
        chosen = letters[:show] if oldest else letters[::-1][:show]
        result: dict[str, Any] = {
            "run": run,
            "dead_letters": len(letters),
            "by_reason": _by_reason(letters),
            "shown": [_whole(letter) for letter in chosen],
        }
        if requeue:
            published, left = broker.requeue_dead_letters()
            result |= {"requeued": published, "left": dict(left)}
        if drop:
            result["dropped"] = broker.drop_dead_letters()
        return result
    finally:
        connection.close()


def in_words(result: dict[str, Any]) -> str:
    """The same as a page of text."""
    lines = [f"{result['run']}: {result['dead_letters']} dead letters"]
    rows = result["by_reason"]
    for row in rows[:MOST_ROWS]:
        ages = _ages(row["youngest_s"], row["oldest_s"])
        lines.append(f"{row['count']:>6}  {row['queue']}  {ages}: {row['reason']}")
    if len(rows) > MOST_ROWS:
        rest = sum(row["count"] for row in rows[MOST_ROWS:])
        lines.append(f"{rest:>6}  of {len(rows) - MOST_ROWS} other kinds (all of them with --json)")
    for letter in result["shown"]:
        age = _ages(letter["age_s"], letter["age_s"])
        cut = "" if letter["kept_bytes"] == letter["bytes"] else f", the first {letter['kept_bytes']:,} kept"
        lines += ["", f"{letter['queue']}  {letter['bytes']:,} bytes{cut}  {age}: {letter['reason']}"]
        lines += [f"    {line}" for line in letter["fields"]]
    if "requeued" in result:
        left = "".join(f"; {count} stay: {why}" for why, count in result["left"].items())
        lines.append(f"requeued {result['requeued']}{left}")
    if "dropped" in result:
        lines.append(f"dropped {result['dropped']}")
    return "\n".join(lines)


def _by_reason(letters: Sequence[DeadLetter]) -> list[dict[str, Any]]:
    """How many of each queue and reason, the most first."""
    kinds: Counter[tuple[str, str]] = Counter()
    ages: dict[tuple[str, str], list[float]] = {}
    for letter in letters:
        kind = (printable(letter.queue), printable(letter.reason))
        kinds[kind] += 1
        if (age := _age(letter)) is not None:
            ages.setdefault(kind, []).append(age)
    return [
        {
            "queue": kind[0],
            "reason": kind[1],
            "count": count,
            "youngest_s": min(ages[kind]) if kind in ages else None,
            "oldest_s": max(ages[kind]) if kind in ages else None,
        }
        for kind, count in kinds.most_common()
    ]


def _whole(letter: DeadLetter) -> dict[str, Any]:
    return {
        "queue": printable(letter.queue),
        "reason": printable(letter.reason, 400),
        "bytes": letter.n_bytes,
        "kept_bytes": len(letter.body),
        "age_s": _age(letter),
        "fields": describe(letter.body),
    }


def _age(letter: DeadLetter) -> float | None:
    """Seconds since it was rejected; None if nobody said when."""
    return round(max(0.0, time.time() - letter.at), 1) if letter.at > 0 else None


def _ages(youngest_s: float | None, oldest_s: float | None) -> str:
    if youngest_s is None or oldest_s is None:
        return "at an unknown time"
    young, old = duration(youngest_s), duration(oldest_s)
    return f"{young} ago" if young == old else f"{young} to {old} ago"
