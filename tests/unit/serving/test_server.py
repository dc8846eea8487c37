"""The server as a process: its port, its end, its command."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mbdcnn.cli import main
from mbdcnn.errors import UserError
from mbdcnn.inference.predictor import Predictor
from mbdcnn.serving.app import create_app
from mbdcnn.serving.limits import Limits
from mbdcnn.serving.server import listen
from serving_clients import SECONDS, HeldPredictor, image, post, serving

loopback = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture
def held(bundle) -> HeldPredictor:
    return HeldPredictor(Predictor.load(bundle.path, device="cpu"))


@loopback
def test_stopping_finishes_what_was_begun(held: HeldPredictor) -> None:
    limits = Limits()
    with ThreadPoolExecutor(1) as threads, serving(create_app(held, limits=limits), limits) as (server, port):
        answer = threads.submit(post, port, image())
        assert held.begun.wait(SECONDS)
        server.should_exit = True
        time.sleep(0.3)
        with pytest.raises(ConnectionError):
            post(port, image())
        held.free.set()
        assert answer.result(SECONDS)[0] == 200


@loopback
def test_a_port_that_is_taken() -> None:
    with listen("127.0.0.1", 0) as listener, pytest.raises(UserError, match="cannot listen there"):
        listen("127.0.0.1", listener.getsockname()[1])
    with pytest.raises(UserError, match="0 to 65535"):
        listen("127.0.0.1", 70_000)


@pytest.mark.slow
@loopback
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_the_command(bundle, number: signal.Signals) -> None:
    arguments = ("serve", "--model", str(bundle.path), "--port", "0", "--runtime", "torch")
    program = subprocess.Popen(
        [sys.executable, "-m", "mbdcnn", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        assert program.stdout
        said = program.stdout.readline()
        assert "not a medical device" in said
        port = int(said.partition("127.0.0.1:")[2].split()[0])
        assert post(port, image())[0] == 200
        program.send_signal(number)
        output, errors = program.communicate(timeout=SECONDS)
    finally:
        program.kill()
    assert (program.returncode, output, errors) == (0, "", "")


DEAF = """
import asyncio
from mbdcnn.serving.limits import Limits
from mbdcnn.serving.server import listen, make_server, run

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
    else:
        print("asked", flush=True)
    await asyncio.sleep(60)

with listen("127.0.0.1", 0) as listener:
    print(listener.getsockname()[1], flush=True)
    run(make_server(app, Limits()), listener)
"""


def connects(address: tuple[str, int]) -> bool:
    with socket.socket() as line:
        return line.connect_ex(address) == 0


@loopback
def test_a_second_signal_ends_at_once() -> None:
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout
            address = ("127.0.0.1", int(program.stdout.readline()))
            with socket.create_connection(address, SECONDS) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert program.stdout.readline() == "asked\n"
                program.send_signal(signal.SIGTERM)
                while program.poll() is None and connects(address):
                    time.sleep(0.01)
                assert program.poll() is None
                program.send_signal(signal.SIGTERM)
                assert program.wait(SECONDS) == 128 + signal.SIGTERM
        finally:
            program.kill()


def test_the_command_without_its_extra(bundle, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.delitem(sys.modules, "mbdcnn.serving.app")
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(SystemExit, match="1"):
        main(["serve", "--model", str(bundle.path), "--device", "cpu"])
    error = capsys.readouterr().err
    assert re.fullmatch(r"mbdcnn: serve: .* not installed \(the extra `serve`\); pip install .*fastapi.*\n", error)
