"""The page in a real browser, with the tiny model behind it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from pytest_socket import disable_socket, enable_socket

from chromium import Chromium, program
from mbdcnn.data.synthetic import draw
from mbdcnn.inference.predictor import Predictor
from mbdcnn.serving.app import create_app
from mbdcnn.serving.limits import Limits
from mbdcnn.serving.server import listen, make_server


@pytest.fixture(scope="session")
def site(bundle) -> Iterator[str]:
    """The address of a server that takes images of up to 300 kB."""
    import threading

    limits = Limits(upload_megabytes=0.3)
    # Sockets are blocked for each test; this one is opened before.
    enable_socket()
    with listen("127.0.0.1", 0) as listener:
        server = make_server(create_app(Predictor.load(bundle.path, device="cpu"), limits=limits), limits)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)
    disable_socket(allow_unix_socket=True)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The browser's home; what it downloads comes into `downloads`."""
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="session")
def browser(folder: Path) -> Iterator[Chromium]:
    if program() is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    browser = Chromium(folder)
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image, _ = draw(np.random.default_rng(3), "nevus", (300, 200))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90)
    file = tmp_path_factory.mktemp("photos") / "mole on arm.jpg"
    file.write_bytes(stream.getvalue())
    return file


@pytest.fixture
def checked(browser: Chromium, site: str) -> Iterator[Chromium]:
    """Whatever a test does, no script fails and no request leaves this machine."""
    yield browser
    assert browser.complaints == []
    outside = [address for address in browser.addresses if urlsplit(address).scheme not in ("blob", "data")]
    assert {urlsplit(address).netloc for address in outside} == {urlsplit(site).netloc}
