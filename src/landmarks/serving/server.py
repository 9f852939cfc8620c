"""The HTTP server: uvicorn, with limits on the time that a client may take, and a stop that turns newcomers away."""

import asyncio
import contextlib
import socket
from asyncio import Transport
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

CLIENT_SECONDS = 10.0  # for the head of a request, for what follows an early answer, and to take an answer
LAST_SECONDS = 0.5  # for the first request of a connection, once the service stops


class Connection(H11Protocol):
    """A connection that is closed if the client takes too long.

    uvicorn waits for ever for a head that does not end, for the rest of a body whose request is answered already, and
    for a client that does not read its answer. The time for a body is limited by the application.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._stopping = False
        self._sending: asyncio.TimerHandle | None = None
        self._receiving: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Start the time for the first head."""
        super().connection_made(transport)
        self._sending = self.loop.call_later(CLIENT_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Take some bytes; the time does not start again with each of them, but with each request."""
        super().data_received(data)
        if self._is_answering():
            self._sending = self._cancel(self._sending)
            self.cycle.keep_alive = self.cycle.keep_alive and not self._stopping
        elif self._sending is None:
            self._sending = self.loop.call_later(CLIENT_SECONDS, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, unless an answer is under way or has been sent; then only end the connection."""
        if self._is_answering():
            self.cycle.disconnected = True  # the application is told, and what it sends is dropped
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        """Start the time to take an answer."""
        super().pause_writing()
        self._receiving = self._receiving or self.loop.call_later(CLIENT_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the time to take an answer."""
        super().resume_writing()
        self._receiving = self._cancel(self._receiving)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, also if the client has not read all of its answer."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the times."""
        super().connection_lost(exc)
        self._sending, self._receiving = self._cancel(self._sending), self._cancel(self._receiving)

    def shutdown(self) -> None:
        """Close the connection after its request; one that is new may still send its first."""
        self._stopping = True
        if self.cycle is None:
            self.loop.call_later(LAST_SECONDS, self._close_unless_answering)
        else:
            super().shutdown()

    def _close_unless_answering(self) -> None:
        if not self._is_answering():
            self.transport.abort()

    @staticmethod
    def _cancel(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
        if timer is not None:
            timer.cancel()
        return None

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete


class Server(uvicorn.Server):
    """uvicorn's server; once it stops, connections are refused instead of waiting until the process ends.

    The process that starts the workers has the listening socket, too, and keeps it until the last of them has ended.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        config.http = Connection
        super().__init__(config)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new connections, answer the requests that have begun, and stop."""
        for _ in range(2):  # rounds of the event loop, which accept the connections that wait
            await asyncio.sleep(0)
        for listening in sockets or ():
            asyncio.get_running_loop().remove_reader(listening)
            with contextlib.suppress(OSError):  # another worker did it already
                listening.shutdown(socket.SHUT_RDWR)
        await super().shutdown(sockets)


def use_own_server() -> None:
    """Make BentoML's workers, which offer no choice, run this server."""
    uvicorn.Server = Server  # type: ignore[misc]
