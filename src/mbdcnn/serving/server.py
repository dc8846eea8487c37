"""The server process: its socket, its connections, its end."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from mbdcnn.errors import UserError
from mbdcnn.serving.limits import Limits, busy
from mbdcnn.serving.shield import problem

PATIENCE = 10.0
"""Seconds a connection may take from its start, or its last answer, to the end of its next request's head."""


class Server(uvicorn.Server):
    """A server that ends at once when told twice, where uvicorn would wait for what it began."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take SIGINT or SIGTERM."""
        if self.should_exit:
            os._exit(128 + sig)
        # uvicorn would note the signal and send it to itself again when done.
        self.should_exit = True


class Settings(uvicorn.Config):
    """What uvicorn is told, and what its connections keep to."""

    def __init__(self, app: ASGIApp, limits: Limits, patience: float) -> None:
        super().__init__(
            app,
            http=Connection,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            # A second more than a request has, so that it can still be told that it took too long.
            timeout_graceful_shutdown=math.ceil(limits.timeout) + 1,
        )
        self.connections = limits.connections
        self.patience = patience


class Connection(H11Protocol):
    """A connection that is closed when its client dawdles, where uvicorn would wait for ever.

    Clients that open connections and say nothing, send headers a byte at a time, go on sending what was refused, or
    do not read their answer would otherwise use up all connections.
    """

    config: Settings

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection."""
        super().connection_made(transport)
        self._deadline: asyncio.TimerHandle | None = None
        if len(self.connections) > self.config.connections:
            self.app = _come_back
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what arrives."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Continue with the next request."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go."""
        super().connection_lost(exc)
        self._unwatch()

    def _watch(self) -> None:
        """Run the clock while no request is being answered."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._unwatch()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.config.patience, self.transport.abort)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def make_server(app: ASGIApp, limits: Limits, patience: float = PATIENCE) -> Server:
    """Make a server that logs nothing of what it is asked."""
    return Server(Settings(app, limits, patience))


def listen(host: str, port: int) -> socket.socket:
    """Take a port; 0 for any that is free.

    Raises:
        UserError: it cannot be had.
    """
    if not 0 <= port <= 65535:
        raise UserError(f"port {port}: ports go from 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{host} port {port}: cannot listen there ({reason}); choose another --port or --host"
        ) from None


def run(server: Server, listener: socket.socket) -> None:
    """Serve until told to stop by SIGINT or SIGTERM, then finish what was begun; a second signal ends at once."""
    # uvicorn's own handlers are there only while it serves, not while it starts and ends.
    earlier: dict[signal.Signals, Any] = {
        number: signal.signal(number, server.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        server.run(sockets=[listener])
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


async def _come_back(scope: Scope, receive: Receive, send: Send) -> None:
    refusal = busy()
    response = problem(refusal.status, refusal.reason, refusal.retry_after)
    response.headers["connection"] = "close"
    await response(scope, receive, send)
