"""The server under load and abuse: what it cannot do it refuses, and what it took it finishes."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from mbdcnn.errors import UserError
from mbdcnn.inference.predictor import Predictor
from mbdcnn.serving.app import create_app
from mbdcnn.serving.batching import Batcher, Job, PredictionError
from mbdcnn.serving.limits import Gate, Limits, RefusedError
from mbdcnn.serving.metrics import Metrics
from mbdcnn.serving.uploads import open_image
from serving_clients import SECONDS, HeldPredictor, image, post, serving

WHITE = image(colour=(255, 255, 255))
loopback = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture(scope="module")
def real(bundle) -> Predictor:
    return Predictor.load(bundle.path, device="cpu")


@pytest.fixture
def held(real: Predictor) -> HeldPredictor:
    return HeldPredictor(real)


def job(predictor: Predictor, content: bytes, protocol: Any = "fast") -> Job:
    inputs = open_image(content, Limits(), predictor, protocol)
    return Job(inputs, protocol, lambda prediction: prediction.decision.encode())


def batcher(predictor: Predictor, **limits: Any) -> Batcher:
    made = Batcher(predictor, Limits(**limits), Metrics())
    made.start()
    return made


def test_jobs_that_wait_are_done_together(held: HeldPredictor) -> None:
    line = batcher(held, batch=3)
    futures = [line.submit(job(held, image()))]
    assert held.begun.wait(SECONDS)
    futures += [line.submit(job(held, image(50 + number))) for number in range(4)]
    futures += [line.submit(job(held, image(), "paper")) for _ in range(2)]
    cancelled = line.submit(job(held, image()))
    assert cancelled.cancel()
    held.free.set()
    assert {future.result(SECONDS) for future in futures} <= {name.encode() for name in held.classes}
    line.close()
    # Those of one protocol go together, those of the paper's one by one, and what nobody waits for not at all.
    assert held.batches == [1, 3, 1, 1, 1]


def test_a_cancelled_job_leaves_the_line(held: HeldPredictor) -> None:
    line = batcher(held, batch=1)
    futures = [line.submit(job(held, image())) for _ in range(2)]
    assert held.begun.wait(SECONDS)
    cancelled = job(held, image())
    kept = weakref.ref(cancelled)
    future = line.submit(cancelled)
    del cancelled
    assert kept() is not None
    future.cancel()
    assert kept() is None
    held.free.set()
    assert all(each.result(SECONDS) for each in futures)
    line.close()
    assert held.batches == [1, 1]


def test_the_networks_go_on_while_an_answer_is_made(held: HeldPredictor) -> None:
    line, second = batcher(held, batch=1), threading.Event()
    inputs = open_image(image(), Limits(), held, "fast")
    held.free.set()
    first = line.submit(Job(inputs, "fast", lambda _: str(second.wait(SECONDS)).encode()))
    line.submit(Job(inputs, "fast", lambda _: b"")).add_done_callback(lambda _: second.set())
    assert first.result(SECONDS) == b"True"
    line.close()
    assert held.batches == [1, 1]


def test_an_answer_that_cannot_be_made_is_not_the_others(held: HeldPredictor, caplog: pytest.LogCaptureFixture) -> None:
    line = batcher(held, batch=2, batch_wait=0.5)
    inputs = open_image(image(), Limits(), held, "fast")
    held.free.set()
    broken = line.submit(Job(inputs, "fast", lambda _: b"%d" % (1 // 0)))
    whole = line.submit(job(held, image()))
    with pytest.raises(PredictionError):
        broken.result(SECONDS)
    assert whole.result(SECONDS)
    line.close()
    assert "ZeroDivisionError" in caplog.text


def test_one_failure_is_not_the_others(held: HeldPredictor, caplog: pytest.LogCaptureFixture) -> None:
    line = batcher(held, batch=3, batch_wait=0.5)
    futures = [line.submit(job(held, content)) for content in (image(), WHITE, image())]
    held.free.set()
    assert futures[0].result(SECONDS) == futures[2].result(SECONDS)
    with pytest.raises(PredictionError):
        futures[1].result(SECONDS)
    assert line.submit(job(held, image())).result(SECONDS)
    line.close()
    assert "a prediction failed" in caplog.text


def test_closing_finishes_what_is_in_line(held: HeldPredictor) -> None:
    line = batcher(held, batch=1)
    futures = [line.submit(job(held, image())) for _ in range(3)]
    closing = threading.Thread(target=line.close)
    closing.start()
    while line.running:
        time.sleep(0.001)
    with pytest.raises(RefusedError, match="busy"):
        line.submit(job(held, image()))
    held.free.set()
    closing.join(SECONDS)
    assert all(future.done() for future in futures)


def test_the_gate_counts_places_back() -> None:
    gate = Gate(1)
    for _ in range(2):
        with gate.place(), pytest.raises(RefusedError, match="busy"), gate.place():
            pass
    assert gate.taken == 0


@pytest.mark.parametrize("name", ["queue", "timeout", "batch", "megapixels"])
def test_limits_make_sense(name: str) -> None:
    with pytest.raises(UserError, match="must be more than 0"):
        Limits(**{name: 0})


def test_a_full_server_says_so(held: HeldPredictor) -> None:
    with TestClient(create_app(held, limits=Limits(queue=2))) as client, ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(client.post, "/v1/predictions", content=image()) for _ in range(2)]
        assert held.begun.wait(SECONDS)
        while (ready := client.get("/readyz")).status_code == 200:
            time.sleep(0.001)
        refused = client.post("/v1/predictions", content=image())
        alive = client.get("/healthz")
        held.free.set()
        assert [future.result(SECONDS).status_code for future in waiting] == [200, 200]
        assert client.post("/v1/predictions", content=image()).status_code == 200
    assert (ready.status_code, refused.status_code, alive.status_code) == (503, 503, 200)
    assert int(refused.headers["retry-after"]) >= 1
    assert "busy" in refused.json()["error"]


def test_what_takes_too_long_is_given_up(held: HeldPredictor) -> None:
    with TestClient(create_app(held, limits=Limits(timeout=0.1))) as client:
        late = client.post("/v1/predictions", content=image())
        held.free.set()
        assert late.status_code == 504
        assert "0.1 seconds" in late.json()["error"]


def test_a_failure_tells_the_client_nothing(held: HeldPredictor, caplog: pytest.LogCaptureFixture) -> None:
    held.free.set()
    with TestClient(create_app(held)) as client:
        failed = client.post("/v1/predictions", content=WHITE)
        assert client.post("/v1/predictions", content=image()).status_code == 200
    assert failed.status_code == 500
    assert failed.json() == {"error": "the prediction failed; the server's log says why"}
    assert [record.message for record in caplog.records if record.exc_info] == ["a prediction failed"]


def test_a_failure_before_the_prediction_is_logged(
    held: HeldPredictor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mbdcnn.serving.app.open_image", lambda *_: 1 / 0)
    with TestClient(create_app(held)) as client:
        failed = client.post("/v1/predictions", content=image())
    assert failed.json() == {"error": "the prediction failed; the server's log says why"}
    assert [record.message for record in caplog.records if record.exc_info] == ["a request failed"]
    assert "ZeroDivisionError" in caplog.text


def test_what_nobody_waits_for_does_not_hold_up_the_end(held: HeldPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mbdcnn.serving.app.LAST_SECONDS", 0.05)
    with TestClient(create_app(held, limits=Limits(timeout=0.1))) as client:
        assert client.post("/v1/predictions", content=image()).status_code == 504
        begun = time.monotonic()
    assert time.monotonic() - begun < SECONDS / 2
    held.free.set()


class Client:
    """A client made by hand, at the door of the application."""

    def __init__(self, *messages: dict[str, Any], length: int = 100) -> None:
        self.messages = [*messages]
        self.sent: list[dict[str, Any]] = []
        self.headers = [(b"content-type", b"image/png"), (b"content-length", str(length).encode())]

    async def receive(self) -> dict[str, Any]:
        while not self.messages:
            await asyncio.sleep(0.005)
        return self.messages.pop(0)

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def ask(self, app: Any) -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/predictions",
            "raw_path": b"/v1/predictions",
            "query_string": b"",
            "headers": self.headers,
        }
        await app(scope, self.receive, self.send)


def part(content: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": content, "more_body": more}


def test_an_upload_that_does_not_end(held: HeldPredictor) -> None:
    client = Client(part(b"x"), part(b"x"))
    asyncio.run(client.ask(create_app(held, limits=Limits(upload_timeout=0.05))))
    assert client.sent[0]["status"] == 408
    assert json.loads(client.sent[1]["body"]) == {"error": "the upload took more than 0.05 seconds"}


def test_an_upload_that_is_cut(held: HeldPredictor) -> None:
    client = Client(part(b"x"), {"type": "http.disconnect"})
    asyncio.run(client.ask(create_app(held)))
    assert client.sent[0]["status"] == 499


def test_who_goes_away_is_not_waited_for(held: HeldPredictor) -> None:
    app = create_app(held, limits=Limits(queue=1))

    async def scenario() -> None:
        async with app.router.lifespan_context(app):
            first = Client(part(image(), more=False))
            asking = asyncio.create_task(first.ask(app))
            assert await asyncio.to_thread(held.begun.wait, SECONDS)
            first.messages.append({"type": "http.disconnect"})
            await asking
            assert first.sent[0]["status"] == 499
            gone = Client(part(image(), more=False), {"type": "http.disconnect"})
            await gone.ask(app)
            assert gone.sent[0]["status"] == 499
            held.free.set()

    asyncio.run(scenario())
    assert held.batches == [1]


@pytest.mark.slow
@loopback
def test_four_times_what_it_can_do(real: Predictor) -> None:
    """Every request is answered or refused; the refused succeed when they come back."""
    limits = Limits(queue=4)
    content = image()
    with serving(create_app(real, limits=limits), limits) as (_, port), ThreadPoolExecutor(16) as threads:

        def insist(_: int) -> list[int]:
            statuses = []
            while not statuses or statuses[-1] == 503:
                statuses.append(post(port, content)[0])
                time.sleep(0.01)
            return statuses

        statuses = [status for each in threads.map(insist, range(60)) for status in each]
    assert set(statuses) == {200, 503}
    assert Counter(statuses)[200] == 60


@loopback
def test_connections_that_dawdle_are_closed(real: Predictor) -> None:
    limits = Limits(connections=6)
    starts = (
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-",
        b"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\nx",
    )
    with serving(create_app(real, limits=limits), limits, patience=0.2) as (_, port):
        lines = [socket.create_connection(("127.0.0.1", port), SECONDS) for _ in starts]
        for line, start in zip(lines, starts, strict=True):
            line.sendall(start)
        assert post(port, image())[0] == 200
        ends = []
        for line in lines:
            content = b""
            try:
                while received := line.recv(10_000):
                    content += received
            except ConnectionResetError:
                pass
            ends.append(content)
            line.close()
        assert ends[:2] == [b"", b""]
        assert ends[2].startswith(b"HTTP/1.1 413 ")
        assert post(port, image())[0] == 200


@loopback
def test_too_many_connections(real: Predictor) -> None:
    limits = Limits(connections=3)
    with serving(create_app(real, limits=limits), limits) as (server, port):
        lines = [socket.create_connection(("127.0.0.1", port), SECONDS) for _ in range(3)]
        while len(server.server_state.connections) < 3:
            time.sleep(0.001)
        status, content = post(port, image())
        for line in lines:
            line.close()
        while server.server_state.connections:
            time.sleep(0.001)
        assert post(port, image())[0] == 200
    assert status == 503
    assert "busy" in json.loads(content)["error"]
