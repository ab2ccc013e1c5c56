"""Why RabbitMQ, short of memory or disk, takes nothing more from a connection that publishes."""

import logging

from pika.adapters.blocking_connection import BlockingConnection

logger = logging.getLogger("dials_async.messaging")


class Alarm:
    """The alarm of the broker at one connection after the other, as far as it told."""

    def __init__(self, shown: str) -> None:
        """``shown`` is the broker's address without its password."""
        self.reason: str | None = None
        """In few words; None while it takes what is published."""
        self._shown = shown

    def watch(self, connection: BlockingConnection) -> None:
        """Look after ``connection`` from now on; whatever was heard on the one before is forgotten."""
        self.reason = None
        # Not pika's public way: that calls back after a job is done, and the job waits for the alarm to end.
        inner = connection._impl
        inner.add_on_connection_blocked_callback(lambda _, frame: self._rises(frame.method.reason))
        inner.add_on_connection_unblocked_callback(lambda _connection, _frame: self._ends())

    def _rises(self, reason: str) -> None:
        self.reason = f"it has an alarm: {' '.join(reason.split())[:100]}"
        logger.warning("RabbitMQ at %s refuses for now: %s; waiting", self._shown, self.reason)

    def _ends(self) -> None:
        self.reason = None
        logger.warning("RabbitMQ at %s takes messages again", self._shown)
