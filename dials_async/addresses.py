"""Where the servers are: URLs and ports from the environment, and how to show a URL safely."""

import os
from urllib.parse import urlsplit, urlunsplit

from dials_async.errors import ConfigError

AMQP_VARIABLE, REDIS_VARIABLE = "DIALS_AMQP_URL", "DIALS_REDIS_URL"
_AMQP_PORT, REDIS_PORT_VARIABLE = "DIALS_AMQP_PORT", "DIALS_REDIS_PORT"
_AMQP_METRICS_PORT, _PROMETHEUS_PORT = "DIALS_AMQP_METRICS_PORT", "DIALS_PROMETHEUS_PORT"


def amqp_url() -> str:
    """$DIALS_AMQP_URL, ``amqp[s]://user:password@host:port/vhost``; without it RabbitMQ's default, here.

    Raises ConfigError.
    """
    default = f"amqp://guest:guest@127.0.0.1:{amqp_port()}/%2F"
    return _from_environment(AMQP_VARIABLE, default, ("amqp", "amqps"))


def redis_url() -> str:
    """$DIALS_REDIS_URL, ``redis[s]://user:password@host:port/number``; without it Redis' default, here.

    Raises ConfigError.
    """
    return _from_environment(REDIS_VARIABLE, f"redis://127.0.0.1:{redis_port()}/0", ("redis", "rediss"))


def amqp_port() -> int:
    """$DIALS_AMQP_PORT, where a private RabbitMQ listens; its usual port without it. Raises ConfigError."""
    return _port(_AMQP_PORT, 5672)


def redis_port() -> int:
    """$DIALS_REDIS_PORT, where a private Redis listens; its usual port without it. Raises ConfigError."""
    return _port(REDIS_PORT_VARIABLE, 6379)


def amqp_metrics_port() -> int:
    """$DIALS_AMQP_METRICS_PORT, where a private RabbitMQ serves its metrics. Raises ConfigError."""
    return _port(_AMQP_METRICS_PORT, 17692)


def prometheus_port() -> int:
    """$DIALS_PROMETHEUS_PORT, where a private Prometheus listens. Raises ConfigError."""
    return _port(_PROMETHEUS_PORT, 17090)


def without_password(url: str) -> str:
    """``url`` as it may be printed: the password, and whatever follows '?', left out."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host
        place = f"{host}:{parts.port}" if parts.port else host
        user = f"{parts.username}@" if parts.username else ""
    except ValueError:  # a port that is no number, say: nothing of it is safe to show
        return "(not a URL)"
    return urlunsplit((parts.scheme, user + place, parts.path, "", ""))


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ConfigError(f"{variable} = {text}: expected a port, 1 to 65535")
    return int(text)


def _from_environment(variable: str, default: str, schemes: tuple[str, ...]) -> str:
    url = os.environ.get(variable) or default
    try:
        parts = urlsplit(url)
        good = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"{variable} is not a URL of the form {schemes[0]}://user:password@host:port/...")
    return url
