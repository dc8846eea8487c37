"""The server as a program of its own under ten thousand requests, decent and not, and restarted meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mbdcnn.data.synthetic import draw

pytestmark = [pytest.mark.soak, pytest.mark.slow, pytest.mark.allow_hosts(["127.0.0.1"])]

REQUESTS = int(os.environ.get("MBDCNN_SOAK_REQUESTS", "10000"))
CLIENTS = 32
"""Four times the server's queue, and as many as its connections."""
ARGUMENTS = "--device cpu --queue 8 --connections 64 --upload-megabytes 0.5 --upload-timeout 2 --timeout 30"
SECONDS = 60
HOST = "127.0.0.1"


class Server:
    """`mbdcnn serve` as a process."""

    def __init__(self, bundle: Path, folder: Path, port: int = 0) -> None:
        self.folder = folder
        """Where it runs, and where anything temporary would go."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mbdcnn", "serve", "--model", str(bundle), "--port", str(port), *ARGUMENTS.split()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=os.environ | {"TMPDIR": str(folder)},
        )
        assert self.process.stdout
        self.port = int(self.process.stdout.readline().partition(f"{HOST}:")[2].split()[0])

    def megabytes(self) -> float:
        """Memory in use."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1000

    def files(self) -> int:
        """Open files and connections."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self) -> tuple[int, str]:
        """End it as an administrator would; give exit code and what it complained of."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, errors


@pytest.fixture
def server(bundle, tmp_path: Path) -> Iterator[Server]:
    server = Server(bundle.path, tmp_path)
    yield server
    server.process.kill()
    server.process.communicate()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(8):
        image, _ = draw(np.random.default_rng(number), "nevus", (200 + 40 * number, 300))
        image.save(folder / f"{number}.jpg")
    return [file.read_bytes() for file in sorted(folder.iterdir())]


STATUSES: list[int] = []
"""Of all answers, in order."""


def ask(port: int, body: bytes, kind: str = "image/jpeg") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(HOST, port, timeout=SECONDS)
    try:
        connection.request("POST", "/v1/predictions", body, {"Content-Type": kind})
        response = connection.getresponse()
        STATUSES.append(response.status)
        return response.status, response.read()
    finally:
        connection.close()


def insist(port: int, body: bytes, kind: str = "image/jpeg") -> tuple[int, bytes]:
    """Come back as long as the server is busy."""
    while (answer := ask(port, body, kind))[0] == 503:
        time.sleep(random.uniform(0.01, 0.1))
    return answer


def decent(port: int, photo: bytes) -> None:
    status, content = insist(port, photo)
    assert status == 200
    assert abs(sum(json.loads(content)["probabilities"].values()) - 1) < 1e-4


FORM = "multipart/form-data; boundary=cut"


def form(**parts: bytes) -> bytes:
    """Write a form as a browser does; image and mask are files."""
    pieces = []
    for name, content in parts.items():
        file = '; filename="x"' if name in {"image", "mask"} else ""
        head = f'--cut\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        pieces.append(head.encode() + content + b"\r\n")
    return b"".join(pieces) + b"--cut--\r\n"


def outlined(photo: bytes) -> bytes:
    """Draw an outline of an image's size, as PNG."""
    with Image.open(BytesIO(photo)) as image:
        mask = np.zeros((image.height, image.width), bool)
    mask[40:200, 50:180] = True
    return png(mask)


def png(mask: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return stream.getvalue()


def corrected(port: int, photo: bytes) -> None:
    """Send a mask, clicks, a box or several of them, to be kept as the result or not."""
    points = {"points": b"[[100, 100, 1], [10, 10, 0]]"}
    mask, box = {"mask": outlined(photo)}, {"box": b"[40, 30, 200, 180]"}
    parts, source = random.choice(
        [(mask, "given"), (points, "prompted"), (mask | points, "prompted"), (box | points, "prompted")]
    )
    keep = random.random() < 0.5
    body = form(image=photo, **parts, **({"keep_outline": b"true"} if keep else {}))
    status, content = insist(port, body, FORM)
    assert status == 200, content
    answer = json.loads(content)
    assert (answer["coarse_mask_source"], answer["mask_source"]) == (source, source if keep else "model")


def refused(status: int, kind: str, change: Callable[[bytes], bytes]) -> Callable[[int, bytes], None]:
    def client(port: int, photo: bytes) -> None:
        answer, content = insist(port, change(photo), kind)
        assert answer == status, (answer, content)
        assert "\n" not in json.loads(content)["error"]

    client.__name__ = f"refused with {status}"
    return client


def raw(port: int, *parts: bytes, wait: float = 0.0) -> bytes:
    """Send bytes as they are, and give what comes back until the end or half a second of silence."""
    received = b""
    with socket.create_connection((HOST, port), SECONDS) as line:
        try:
            for part in parts:
                line.sendall(part)
                time.sleep(wait)
            line.settimeout(0.5)
            while content := line.recv(1 << 16):
                received += content
        except (TimeoutError, ConnectionError):
            pass
    return received


HEAD = b"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"


def slow(port: int, photo: bytes) -> None:
    pieces = [photo[start : start + 4000] for start in range(0, len(photo), 4000)]
    answer = raw(port, HEAD % len(photo), *pieces, wait=random.uniform(0, 0.4))
    assert not answer or answer[9:12] in (b"200", b"408", b"503")


def cut(port: int, photo: bytes) -> None:
    raw(port, HEAD % len(photo), photo[: len(photo) // 2])


def hung_up(port: int, photo: bytes) -> None:
    with socket.create_connection((HOST, port), SECONDS) as line:
        line.sendall(HEAD % len(photo) + photo)


def noise(port: int, photo: bytes) -> None:
    assert raw(port, random.randbytes(300) + b"\r\n\r\n")[9:12] in (b"400", b"")


KINDS: list[tuple[float, Callable[[int, bytes], None]]] = [
    (70, decent),
    (10, corrected),
    (3, refused(415, "application/json", lambda photo: photo)),
    (3, refused(415, "image/jpeg", lambda photo: photo[::-1])),
    (3, refused(422, "image/jpeg", lambda photo: photo[: len(photo) // 3])),
    (2, refused(413, "image/jpeg", lambda photo: photo * 200)),
    (2, refused(400, "multipart/form-data; boundary=x", lambda photo: photo)),
    (1, refused(415, FORM, lambda photo: form(image=photo, mask=photo))),
    (1, refused(422, FORM, lambda photo: form(image=photo, mask=outlined(photo)[:70]))),
    (1, refused(415, FORM, lambda photo: form(image=photo, mask=b"hello"))),
    (1, refused(422, FORM, lambda photo: form(image=photo, mask=png(np.ones((10, 10), bool))))),
    (1, refused(422, FORM, lambda photo: form(image=photo, mask=png(np.zeros((200, 300), bool))))),
    (1, refused(422, FORM, lambda photo: form(image=photo, points=b"[[NaN, 1, 1]]"))),
    (1, refused(422, FORM, lambda photo: form(image=photo, points=b"[[1e9, -5, 1]]"))),
    (1, refused(400, FORM, lambda photo: form(image=photo, points=b"[" + b"[1,1,1]," * 50_000 + b"[1,1,1]]"))),
    (1, refused(413, FORM, lambda photo: form(image=photo, points=b"[" + b"[1,1,1]," * 1_000_000 + b"[1,1,1]]"))),
    (1, refused(422, FORM, lambda photo: form(image=photo, keep_outline=b"true"))),
    (1, refused(422, FORM, lambda photo: form(image=photo, points=str([[1, 1, 1]] * 500).encode()))),
    (1, refused(422, FORM, lambda photo: form(image=photo, box=b"[5, 5, 1, 1]"))),
    (1, refused(422, FORM, lambda photo: form(image=photo, box=b"[5, 5, 5, 5]"))),
    (2, slow),
    (2, cut),
    (2, hung_up),
    (1, noise),
]


def test_ten_thousand_requests(server: Server, photos: list[bytes]) -> None:
    """Nothing is lost, memory stays flat, and nothing is left open or behind."""
    STATUSES.clear()
    seconds: list[float] = []
    memory: list[float] = []

    def one(number: int) -> str:
        (client,) = random.choices([client for _, client in KINDS], [weight for weight, _ in KINDS])
        started = time.perf_counter()
        client(server.port, photos[number % len(photos)])
        if client is decent:
            seconds.append(time.perf_counter() - started)
        if number % max(1, REQUESTS // 20) == 0:
            memory.append(server.megabytes())
        return client.__name__

    with ThreadPoolExecutor(CLIENTS) as threads:
        done = Counter(threads.map(one, range(REQUESTS)))
    assert sum(done.values()) == REQUESTS
    decent(server.port, photos[0])
    time.sleep(12)  # longer than a connection may dawdle
    files = server.files()
    half = max(memory[: len(memory) // 2])
    left = [*server.folder.rglob("*")]
    speed = f"slowest {max(seconds):.1f} s, median {np.median(seconds):.2f} s"
    report = f"{dict(done)}; answers {dict(Counter(STATUSES))}; {len(left)} files left; memory {memory} MB; {speed}"
    print(report)
    assert max(memory) < half * 1.1 + 30, report
    assert files < 40, report
    assert not left, report
    assert max(STATUSES) <= 503, report
    assert 500 not in STATUSES, report
    code, errors = server.stop()
    assert code == 0
    assert "Traceback" not in errors
    assert "ERROR" not in errors


def test_many_connections_at_once(server: Server, photos: list[bytes]) -> None:
    """Ten times as many as it takes, silent ones: it goes on answering when they are gone."""
    lines = [socket.create_connection((HOST, server.port), SECONDS) for _ in range(640)]
    assert ask(server.port, photos[0])[0] == 503
    for line in lines[:600]:
        line.close()
    decent(server.port, photos[0])
    time.sleep(11)
    for line in lines[600:]:
        line.settimeout(1)
        with contextlib.suppress(ConnectionResetError):
            assert line.recv(1) == b"", "the server has not closed it"
        line.close()
    assert server.stop()[0] == 0


def test_restart_during_load(server: Server, photos: list[bytes], bundle) -> None:
    """What was taken is answered before the end; who comes meanwhile finds no server, and the next one later."""
    stopping, answered, torn = threading.Event(), Counter[int](), Counter[str]()

    def one(number: int) -> None:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            try:
                status, _ = ask(server.port, photos[number % len(photos)])
            except (ConnectionError, http.client.HTTPException) as error:
                assert stopping.is_set()
                torn[type(error).__name__] += 1
                time.sleep(0.1)
                continue
            answered[status] += 1
            if status == 200:
                return
            assert status == 503
            time.sleep(0.05)
        raise AssertionError("never answered")

    replaced: list[Server] = []
    with ThreadPoolExecutor(CLIENTS) as threads:
        futures = [threads.submit(one, number) for number in range(600)]
        time.sleep(2)
        stopping.set()
        assert server.stop()[0] == 0
        replaced.append(Server(bundle.path, server.folder, server.port))
        for future in futures:
            future.result()
    assert answered[200] == 600
    print(f"{dict(answered)}; turned away while there was no server: {dict(torn)}")
    assert replaced[0].stop()[0] == 0
