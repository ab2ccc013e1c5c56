"""A distributed run for the dashboard where its folder is not: looked at through Redis and RabbitMQ."""

import threading
from threading import Event
from typing import Any

from dials_async.distributed.connection import connect
from dials_async.distributed.status import look
from dials_async.errors import DialsError
from dials_async.runtime import live
from dials_async.runtime.live import EVERY_S, Recorder
from dials_async.store.redis.runs import COMPLETE, FAILED

_STATES = {COMPLETE: live.COMPLETE, FAILED: live.FAILED}


class RunWatcher:
    """Looks at a run every EVERY_S, on a thread of its own: while servers are away the last look stays.

    The history begins with the watching. Implements ``dials_async.dashboard.source.Source``.
    """

    def __init__(self, run: str) -> None:
        """Look for the first time. Raises RunNotFoundError, BrokerError, StoreError."""
        self._stop = Event()
        self._connection = connect(run, self._stop)
        self._recorder = Recorder()
        self._trouble = ""
        self._document = self._look()
        self._thread = threading.Thread(target=self._keep_looking, name="watch", daemon=True)
        self._thread.start()

    def state(self) -> dict[str, Any]:
        """The document of live.json, as of the last look."""
        document = self._document
        return {**document, "stuck": [self._trouble, *document["stuck"]]} if self._trouble else document

    def close(self) -> None:
        """Stop looking, and leave the run."""
        self._stop.set()
        self._thread.join(2 * EVERY_S)
        self._connection.close()

    def _look(self) -> dict[str, Any]:
        found = look(self._connection)
        return self._recorder.document(found, _STATES.get(found.now["state"], live.RUNNING))

    def _keep_looking(self) -> None:
        while not self._stop.wait(EVERY_S):
            try:
                self._document = self._look()
                self._trouble = ""
            except DialsError as error:  # an outage outlasted patience, or the run was removed
                self._trouble = str(error)
            except Exception as error:  # the page has to say it: nobody else would
                self._trouble = f"looking at the run failed: {type(error).__name__}: {error}"
