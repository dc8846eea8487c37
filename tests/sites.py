"""A web server on this machine that serves files from memory and can be told to fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Site:
    """What is served, how it fails, and what was asked for."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    answers: Callable[[str], bytes | None] = lambda path: None
    """Computes what is not among the files from the path with its query."""
    ranges: bool = True
    statuses: dict[str, list[int]] = field(default_factory=dict)
    """Statuses to answer a path with first, one a request."""
    cuts: dict[str, list[int]] = field(default_factory=dict)
    """Bytes after which to cut the connection, one a request."""
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and range of every request."""
    sent: int = 0
    """Bytes of content sent."""

    def got(self, path: str) -> list[str | None]:
        """Give the range of each GET of a path."""
        return [asked for method, requested, asked in self.requests if (method, requested) == ("GET", path)]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Serve on 127.0.0.1; the test must be marked with `allow_hosts(["127.0.0.1"])`."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("mbdcnn.data.download.http.WAITS", (0, 0, 0))
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = self.path.partition("?")[0]
            asked = self.headers.get("Range")
            site.requests.append((self.command, path, asked))
            content = site.files.get(path) or site.answers(self.path)
            status = site.statuses[path].pop(0) if body and site.statuses.get(path) else 200
            if content is None or status != 200:
                self.send_error(404 if content is None else status)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and site.ranges else 0
            if start >= len(content) > 0:
                self.send_error(416)
                return
            self.send_response(206 if asked and site.ranges else 200)
            if asked and site.ranges:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if body:
                end = start + site.cuts[path].pop(0) if site.cuts.get(path) else len(content)
                site.sent += len(content[start:end])  # first: once it is written, the test goes on
                self.wfile.write(content[start:end])

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
