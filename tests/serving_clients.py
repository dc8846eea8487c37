"""What tests of the server share: a predictor that can be held up, images, and clients."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import uvicorn
from PIL import Image
from starlette.types import ASGIApp

from mbdcnn.inference.prediction import Prediction
from mbdcnn.inference.predictor import Predictor
from mbdcnn.serving.limits import Limits
from mbdcnn.serving.server import listen, make_server

SECONDS = 20


class HeldPredictor(Predictor):
    """Predicts when it is let, and remembers its batches. A white image makes it fail."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor.core, predictor.bundle)
        self.begun = threading.Event()
        self.free = threading.Event()
        self.batches: list[int] = []

    def run_networks(self, inputs: list[Any], protocol: Any) -> Iterator[Callable[[], Prediction]]:
        self.batches.append(len(inputs))
        self.begun.set()
        assert self.free.wait(SECONDS)
        if any(each.patches[0].min() == 255 for each in inputs):
            raise RuntimeError("secret of a patient")
        yield from super().run_networks(inputs, protocol)


def image(width: int = 60, height: int = 44, colour: tuple[int, int, int] = (170, 120, 100)) -> bytes:
    """An image with a dark spot."""
    drawn = Image.new("RGB", (width, height), colour)
    if colour != (255, 255, 255):
        drawn.paste((70, 40, 30), (width // 4, height // 4, width // 2, height // 2))
    stream = io.BytesIO()
    drawn.save(stream, "PNG")
    return stream.getvalue()


def mask_of(encoded: dict[str, Any]) -> npt.NDArray[np.bool_]:
    """Decode a mask as a client would: run lengths by a plain loop."""
    if encoded["encoding"] == "png":
        return np.array(Image.open(io.BytesIO(base64.b64decode(encoded["data"]))))
    height, width = encoded["size"]
    flat, value = [], False
    for count in encoded["counts"]:
        flat += [value] * count
        value = not value
    return np.array(flat).reshape(width, height).T


def form(content: bytes, name: str = "image", filename: str = "x.png") -> tuple[bytes, dict[str, str]]:
    """A form as browsers send it, with its header."""
    body = (
        f'--cut\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
        "Content-Type: image/png\r\n\r\n"
    ).encode() + content
    return body + b"\r\n--cut--\r\n", {"Content-Type": "multipart/form-data; boundary=cut"}


@contextlib.contextmanager
def serving(app: ASGIApp, limits: Limits, patience: float = 10) -> Iterator[tuple[uvicorn.Server, int]]:
    """Serve in a thread on 127.0.0.1; gives the server and its port."""
    server = make_server(app, limits, patience)
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield server, listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(SECONDS)
    assert not thread.is_alive()


def post(
    port: int, body: bytes, headers: dict[str, str] | None = None, path: str = "/v1/predictions"
) -> tuple[int, bytes]:
    """Send an image over a connection of its own; give status and content."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("POST", path, body, headers or {"Content-Type": "image/png"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
