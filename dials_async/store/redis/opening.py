"""What is looked at when a run in Redis is opened: its schema, which life it is in, whether Redis forgets.

A run that Redis lost and that was made again has another life: who was at work before must not commit to it.
"""

import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import RedisError

from dials_async.errors import StoreError
from dials_async.store.redis.keys import SCHEMA, RunKeys, require_life
from dials_async.store.redis.link import RedisLink
from dials_async.store.redis.packing import damage_named
from dials_async.store.redis.scripts import SAME_LIFE

logger = logging.getLogger("dials_async.store")


def require_schema(link: RedisLink, keys: RunKeys) -> str:
    """Make an empty run one of this schema; its life. Raises StoreError if it is one of another schema."""
    key = keys.key("info")

    def claim(client: Any) -> tuple[bytes, bytes]:
        schema, life = client.hmget(key, "schema", "life")
        if schema is None or life is None:  # not for a run that is there: who only looks needs no room
            client.hsetnx(key, "schema", SCHEMA)
            client.hsetnx(key, "life", secrets.token_hex(8))
            schema, life = client.hmget(key, "schema", "life")
        return schema, life

    found, life = link.call(claim)
    if found != str(SCHEMA).encode():
        raise StoreError(
            f"run {keys.run} in {link.shown} has schema {_shown(found)}, this version of "
            f"dials-async has {SCHEMA}: use the version that began it, or start another run"
        )
    with damage_named(f"the life of run {keys.run}"):
        return require_life(life.decode())


def _shown(found: bytes) -> str:
    """What somebody wrote there, as a terminal may show it."""
    return ascii(found.decode(errors="replace"))[1:-1][:40]


def guarded(
    link: RedisLink, keys: RunKeys, life: str, text: str
) -> Callable[[Sequence[Any], Sequence[Any]], Any]:
    """The script ``text``, carried out only in this life of the run; in another it raises StoreError."""
    run = link.script(SAME_LIFE + text)
    return lambda names, arguments: run((*names, keys.key("info")), (*arguments, life))


def warn_of_eviction(link: RedisLink) -> None:
    """Warn if this Redis throws away what it was given; where that cannot be seen, only a debug line."""

    def policy(client: Any) -> str:
        try:  # INFO says it too, where CONFIG is forbidden (managed servers)
            return str(client.info("memory").get("maxmemory_policy", "noeviction"))
        except (AttributeError, RedisError) as error:
            logger.debug("cannot see the maxmemory-policy of Redis at %s: %s", link.shown, error)
            return "noeviction"

    if (found := link.call(policy)) != "noeviction":
        logger.warning(
            "Redis at %s has maxmemory-policy %s and may throw weights away: set it to noeviction",
            link.shown,
            found,
        )
