"""Links between the processes of a run and its servers that can be cut: a small TCP proxy for each."""

import asyncio
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from dials_async.servers.private import HOST, lasting_port

_READ_BYTES = 256 * 1024


class Link:
    """One port that leads to a server on loopback."""

    def __init__(self, port: int) -> None:
        self.port = lasting_port()
        self._server_port = port
        self._flows = asyncio.Event()
        self._flows.set()
        self._is_down = False
        self._writers: set[asyncio.StreamWriter] = set()

    async def listen(self) -> asyncio.Server:
        """Serve the port."""
        return await asyncio.start_server(self._serve, HOST, self.port)

    async def cut(self, silently: bool) -> None:
        """Nothing passes until ``mend``. Not ``silently``: connections are closed, new ones refused."""
        if silently:
            self._flows.clear()
            return
        self._is_down = True
        for writer in self._writers:
            writer.transport.abort()

    async def mend(self) -> None:
        """As before; what waited in silence goes on its way."""
        self._is_down = False
        self._flows.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_down:
            writer.transport.abort()
            return
        self._writers.add(writer)
        beyond: asyncio.StreamWriter | None = None
        try:
            with suppress(OSError):  # an end of either side is the end of both
                await self._flows.wait()
                source, beyond = await asyncio.open_connection(HOST, self._server_port)
                self._writers.add(beyond)
                there = asyncio.create_task(self._pump(reader, beyond))
                back = asyncio.create_task(self._pump(source, writer))
                await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
                there.cancel()
                back.cancel()
        finally:
            for end in (writer, beyond):
                if end is not None:
                    self._writers.discard(end)
                    end.close()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(_READ_BYTES):
                await self._flows.wait()
                target.write(data)
                await target.drain()


class Links:
    """The links of all kinds of processes to both servers; a context manager, with a thread of its own."""

    def __init__(self, kinds: Iterable[str], ports: dict[str, int]) -> None:
        """Of each of ``kinds`` to each server of ``ports``."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._links = {(kind, server): Link(port) for kind in kinds for server, port in ports.items()}
        self._servers: list[asyncio.Server] = []

    def port(self, kind: str, server: str) -> int:
        """Where processes of this kind reach the server."""
        return self._links[kind, server].port

    def __enter__(self) -> "Links":
        self._thread.start()
        self._servers = [self._call(link.listen()) for link in self._links.values()]
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            self._loop.call_soon_threadsafe(server.close)
        for link in self._links.values():
            self._call(link.mend())
            self._call(link.cut(silently=False))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def cut(self, kind: str, server: str, silently: bool) -> None:
        """Cut the link of all processes of ``kind`` ("all": of all processes) to ``server``."""
        for link in self._of(kind, server):
            self._call(link.cut(silently))

    def mend(self, kind: str, server: str) -> None:
        """Mend what was cut."""
        for link in self._of(kind, server):
            self._call(link.mend())

    def _of(self, kind: str, server: str) -> list[Link]:
        return [link for key, link in self._links.items() if kind in ("all", key[0]) and key[1] == server]

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
