"""What is round every answer: headers that keep browsers safe, one shape of error, and the counting."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mbdcnn.serving.limits import RefusedError
from mbdcnn.serving.metrics import Metrics

logger = logging.getLogger(__name__)

GONE = 499
"""Counted where the client went away; nobody is left to read it."""
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    # Images of people and what is made of them are not to lie in caches.
    "cache-control": "no-store",
}
_RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class Shield:
    """Adds the headers to every answer and counts it.

    Args:
        app: the application.
        metrics: where to count.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *_RAW_HEADERS]
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        finally:
            # The pattern, not the path: unknown paths would make counters without end.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.answered(route, status, time.perf_counter() - started)


def problem(status: int, reason: str, retry_after: int | None = None) -> JSONResponse:
    """Say in one line why a request was not done."""
    headers = None if retry_after is None else {"retry-after": str(retry_after)}
    return JSONResponse({"error": reason}, status, headers)


def one_line_errors(app: FastAPI) -> None:
    """Answer whatever goes wrong with a `problem`."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)
        return problem(error.status, error.reason, error.retry_after)

    async def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        reasons = {404: "no such page; see /docs", 405: "this page is not asked in this way; see /docs"}
        return problem(error.status_code, reasons.get(error.status_code, error.detail))

    async def gone(request: Request, error: Exception) -> Response:
        return Response(status_code=GONE)

    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        RefusedError: refused,
        HTTPException: unknown,
        ClientDisconnect: gone,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
