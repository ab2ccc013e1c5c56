"""Where the servers are: URLs and ports from the environment, and how to show a URL safely."""

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from dials_async.errors import ConfigError

AMQP_VARIABLE, REDIS_VARIABLE = "DIALS_AMQP_URL", "DIALS_REDIS_URL"

#: In the folder of a private server: the URL that leads to it, password and all, for its owner's eyes alone.
PRIVATE_URL = "url"

#: Who we are to a private RabbitMQ.
PRIVATE_USER = "dials"

# Not DIALS_..._PORT: Kubernetes sets that to a URL where a Service is called dials-redis, say.
_AMQP_PORT, REDIS_PORT_VARIABLE = "DIALS_PORT_AMQP", "DIALS_PORT_REDIS"
_AMQP_METRICS_PORT, _PROMETHEUS_PORT = "DIALS_PORT_AMQP_METRICS", "DIALS_PORT_PROMETHEUS"

#: What they were called before.
_FORMER = {
    _AMQP_PORT: "DIALS_AMQP_PORT",
    REDIS_PORT_VARIABLE: "DIALS_REDIS_PORT",
    _AMQP_METRICS_PORT: "DIALS_AMQP_METRICS_PORT",
    _PROMETHEUS_PORT: "DIALS_PROMETHEUS_PORT",
}


def amqp_url() -> str:
    """$DIALS_AMQP_URL, ``amqp[s]://user:password@host:port/vhost``; without it the private RabbitMQ's.

    RabbitMQ's own default, on loopback, if there is no private one. Raises ConfigError.
    """
    return _from_environment(
        AMQP_VARIABLE,
        lambda: _private_url("rabbitmq", _AMQP_PORT) or f"amqp://guest:guest@127.0.0.1:{amqp_port()}/%2F",
        "amqp",
    )


def redis_url() -> str:
    """$DIALS_REDIS_URL, ``redis[s]://user:password@host:port/number``; without it the private Redis'.

    Redis' own default, on loopback, if there is no private one. Raises ConfigError.
    """
    return _from_environment(
        REDIS_VARIABLE,
        lambda: _private_url("redis", REDIS_PORT_VARIABLE) or f"redis://127.0.0.1:{redis_port()}/0",
        "redis",
    )


def private_folder(kind: str) -> Path:
    """Where the private server ``kind`` of $DIALS_RUNS has its data, and the way to it (PRIVATE_URL)."""
    return Path(os.environ.get("DIALS_RUNS", "runs")) / ".servers" / kind


def _private_url(kind: str, port_variable: str) -> str | None:
    """The way to the private server of this user, on the port that is asked for; None if there is none."""
    try:
        url = (private_folder(kind) / PRIVATE_URL).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    if os.environ.get(port_variable):
        login, _, place = url.rpartition("@")
        path = place.partition("/")[2]
        return f"{login}@127.0.0.1:{_port(port_variable, 0)}/{path}" if login else None
    return url


def amqp_port() -> int:
    """$DIALS_PORT_AMQP, where a private RabbitMQ listens; its usual port without it. Raises ConfigError."""
    return _port(_AMQP_PORT, 5672)


def redis_port() -> int:
    """$DIALS_PORT_REDIS, where a private Redis listens; its usual port without it. Raises ConfigError."""
    return _port(REDIS_PORT_VARIABLE, 6379)


def amqp_metrics_port() -> int:
    """$DIALS_PORT_AMQP_METRICS, where a private RabbitMQ serves its metrics. Raises ConfigError."""
    return _port(_AMQP_METRICS_PORT, 17692)


def prometheus_port() -> int:
    """$DIALS_PORT_PROMETHEUS, where a private Prometheus listens. Raises ConfigError."""
    return _port(_PROMETHEUS_PORT, 17090)


def without_password(url: str) -> str:
    """``url`` as it may be printed: the password, and whatever follows '?', left out.

    So is a user without a password: it may be a password in the wrong place.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host
        place = f"{host}:{parts.port}" if parts.port else host
        user = f"{parts.username}@" if parts.username and parts.password else ""
    except ValueError:  # a port that is no number, say: nothing of it is safe to show
        return "(not a URL)"
    return urlunsplit((parts.scheme, user + place, parts.path, "", ""))


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable)
    former = os.environ.get(_FORMER[variable], "")
    if not text and former.isdecimal():
        raise ConfigError(f"{_FORMER[variable]} = {former}: is called {variable} now")
    text = text or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ConfigError(f"{variable} = {text}: expected a port, 1 to 65535")
    return int(text)


def _from_environment(variable: str, default: Callable[[], str], usual: str) -> str:
    url = os.environ.get(variable) or default()
    try:
        parts = urlsplit(url)
        # Which schemes there are is known where servers are opened.
        good = bool(parts.scheme and parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"{variable} is not a URL of the form {usual}://user:password@host:port/...")
    return url
