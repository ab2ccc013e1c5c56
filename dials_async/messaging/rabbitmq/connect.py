"""How to connect to RabbitMQ, and in one line why it did not work or why it refused something."""

import logging
import socket
import ssl
from collections.abc import Iterator

import pika
from pika.adapters.blocking_connection import BlockingConnection
from pika.exceptions import (
    AMQPChannelError,
    AMQPHeartbeatTimeout,
    AuthenticationError,
    ChannelClosedByBroker,
    ConnectionBlockedTimeout,
    ConnectionClosedByBroker,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    UnroutableError,
)

from dials_async.addresses import without_password
from dials_async.errors import BrokerError

#: pika adds 5 s and looks once in that time: silence is noticed after one to two times 15 s.
HEARTBEAT_S = 10.0

#: For the TCP connection. A packet that was lost is sent again after 1 and after 3 s: that fits in.
CONNECT_S = 5.0

#: For TCP, TLS and AMQP handshakes together. A broker that boots on a busy machine takes seconds.
HANDSHAKE_S = 15.0

#: A broker short of memory or disk stops reading from publishers. After this the connection is made again.
BLOCKED_S = 30.0

ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED, NOT_ALLOWED = 403, 404, 406, 530


class Address:
    """Where RabbitMQ is and who we are there; never shows the password."""

    def __init__(self, url: str, heartbeat_s: float = HEARTBEAT_S) -> None:
        """Raises BrokerError if pika cannot make sense of ``url``."""
        self.shown = without_password(url)
        try:
            self._parameters = pika.URLParameters(url)
        except (ValueError, TypeError, AttributeError, KeyError):  # pika lets through what its parsers raise
            raise BrokerError(
                f"{self.shown} is not a URL of the form amqp[s]://user:password@host:port/vhost"
            ) from None
        self._parameters.heartbeat = max(1, round(heartbeat_s))  # AMQP knows whole seconds
        self._parameters.blocked_connection_timeout = BLOCKED_S
        self._parameters.socket_timeout = CONNECT_S
        self._parameters.stack_timeout = HANDSHAKE_S
        self._parameters.connection_attempts = 1  # trying again, and for how long, is the link's business
        self._parameters.client_properties = {"connection_name": "dials"}

    def connect(self) -> BlockingConnection:
        """A new connection, for the calling thread alone. Raises what ``why`` explains."""
        logger = logging.getLogger("pika")
        if (
            logger.level == logging.NOTSET
        ):  # it prints a dozen lines for one refused connection; we say it in one
            logger.setLevel(logging.CRITICAL)
        return BlockingConnection(self._parameters)

    def refuses(self, error: BaseException) -> bool:
        """Whether the broker is there and does not let this user in."""
        why = self.why(error)
        return " refuses " in why or " has no vhost " in why or "TLS failed" in why

    def why(self, error: BaseException) -> str:
        """In one line, why connecting failed or a connection was lost."""
        causes = list(_causes(error))

        def has(*kinds: type[BaseException]) -> bool:
            return any(isinstance(cause, kinds) for cause in causes)

        at = f"RabbitMQ at {self.shown}"
        closed = next((cause for cause in causes if isinstance(cause, ConnectionClosedByBroker)), None)
        code = closed.reply_code if closed else 0
        if has(ProbableAuthenticationError, AuthenticationError) or code == ACCESS_REFUSED:
            return f"{at} refuses the user or the password"
        if has(ProbableAccessDeniedError) or code == NOT_ALLOWED:
            vhost, user = self._parameters.virtual_host, self._parameters.credentials.username
            return f"{at} has no vhost '{vhost}', or '{user}' may not use it"
        if has(ssl.SSLError):
            reason = next(str(cause) for cause in causes if isinstance(cause, ssl.SSLError))
            return f"cannot reach {at}: TLS failed: {_line(reason)}"
        if has(socket.gaierror):
            return f"cannot reach {at}: the name of the host is not known"
        if has(ConnectionRefusedError):
            return f"cannot reach {at}: connection refused; is it running? ('dials train' needs no server)"
        if has(IncompatibleProtocolError):
            return f"cannot reach {at}: what answers there does not speak AMQP, or only with TLS (amqps://)"
        if has(ConnectionBlockedTimeout):
            return f"{at} holds up publishers: it is short of memory or disk"
        if has(AMQPHeartbeatTimeout):
            return f"{at} is silent"
        if has(TimeoutError):
            return f"cannot reach {at}: no answer in time"
        if closed:
            return f"{at} closed the connection: {_line(closed.reply_text)}"
        if isinstance(error, AMQPChannelError):
            return f"{at} refuses: {refusal(error)}"
        return f"no connection to {at}: {_line(str(causes[-1])) or type(causes[-1]).__name__}"


def refusal(error: AMQPChannelError) -> str:
    """In one line, why the broker refused an operation on a channel."""
    if isinstance(error, ChannelClosedByBroker):
        return _line(error.reply_text)
    return _line(str(error)) or type(error).__name__


def is_missing(error: AMQPChannelError) -> bool:
    """Whether the broker refused because the queue does not exist."""
    return isinstance(error, UnroutableError) or (
        isinstance(error, ChannelClosedByBroker) and error.reply_code == NOT_FOUND
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    # pika wraps what the system said: in arguments, in ``exception``, in lists of attempts.
    yield error
    inner = [
        *error.args,
        getattr(error, "exception", None),
        *getattr(error, "exceptions", ()),
        error.__cause__,
    ]
    for cause in inner:
        if isinstance(cause, BaseException):
            yield from _causes(cause)


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
