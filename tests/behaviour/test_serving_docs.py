"""What docs and Dockerfile say of the server is so."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from mbdcnn.cli.serving import Serve
from mbdcnn.inference.predictor import Predictor
from mbdcnn.serving.app import LAST_SECONDS, create_app
from mbdcnn.serving.limits import Limits
from mbdcnn.serving.server import make_server
from serving_clients import SECONDS, image, serving

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "deployment.md").read_text()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.allow_hosts(["127.0.0.1"])
def test_every_curl_command(bundle, tmp_path: Path) -> None:
    commands = re.findall(r"^curl .*$", DOCS, re.MULTILINE)
    assert len(commands) >= 6
    (tmp_path / "photo.jpg").write_bytes(image(400, 300))
    outline = Image.new("L", (400, 300))
    outline.paste(255, (100, 75, 200, 150))
    outline.save(tmp_path / "outline.png")
    app = create_app(Predictor.load(bundle.path, device="cpu"))
    with serving(app, Limits()) as (_, port):
        for command in commands:
            arguments = shlex.split(command.replace("127.0.0.1:8000", f"127.0.0.1:{port}"))
            options = ["--silent", "--show-error", "--fail-with-body", "--noproxy", "*"]
            done = subprocess.run(
                [*arguments, *options], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False
            )
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            if "/metrics" not in command:
                assert json.loads(done.stdout)


def test_the_limits_are_those_of_the_flags() -> None:
    told = dict(re.findall(r"^\| `--([\w-]+)` \| (\d+)", DOCS, re.MULTILINE))
    limits = Limits()
    assert {name: float(getattr(limits, name.replace("-", "_"))) for name in told} == {
        name: float(value) for name, value in told.items()
    }
    assert len(told) == 6
    assert f"`--batch` images ({limits.batch})" in DOCS


def test_the_image_serves_as_nobody() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    (command,) = [json.loads(line.partition(" ")[2]) for line in lines if line.startswith("ENTRYPOINT")]
    assert command[:2] == ["mbdcnn", "serve"]
    assert {flag.removeprefix("--") for flag in command[2::2]} <= Serve.__dataclass_fields__.keys()
    last_stage = lines[max(index for index, line in enumerate(lines) if line.startswith("FROM")) :]
    (user,) = [line.split()[1] for line in last_stage if line.startswith("USER")]
    assert user not in ("root", "0")


def test_the_image_reads_dicom() -> None:
    content = (ROOT / "Dockerfile").read_text()
    (extras,) = re.findall(r"^ARG EXTRAS=(.*)$", content, re.MULTILINE)
    assert extras.split(",") == ["serve", "dicom"]
    assert content.count('".[$EXTRAS]"') == 1
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.split(",")) <= known.keys()
    assert "EXTRAS=" in DOCS


def test_docker_waits_as_long_as_the_server_takes_to_stop() -> None:
    longest = make_server(create_app, Limits()).config.timeout_graceful_shutdown + LAST_SECONDS
    waits = {int(seconds) for seconds in re.findall(r"--stop-timeout (\d+)", DOCS)}
    assert waits
    assert Limits().timeout < longest < min(waits)


def test_the_image_copies_what_is_there() -> None:
    allowed = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}
    copied = set()
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied |= set(line.split()[1:-1])
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
