"""The commands that write, what is to come of them, and kills of them at any moment."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any


@dataclass(frozen=True)
class Command:
    """A command line that writes to a place."""

    arguments: Callable[[Path], list[str]]
    kind: str | None
    """The artefact it makes; None if it makes plain files."""
    again: tuple[str, ...] = ()
    """Added when it is given again."""
    earlier: Callable[[Path], list[str]] | None = None
    """Makes another artefact of the kind."""
    patches: dict[str, Any] = field(default_factory=dict)
    """Values of names of `mbdcnn.data`, such as `download.CHECKSUMS`."""


def writing_commands(experiment: SimpleNamespace, raw: Path, config: Path) -> dict[str, Command]:
    """Give each command that writes, on what the tiny experiment left."""
    out, runs = experiment.out, experiment.out / "runs"
    trained = {stage: f"--{stage} {runs / stage}" for stage in ("coarse", "classifier", "enhanced")}
    data, masks, bundle = f"--data {out / 'data'}", f"--masks {out / 'masks'}", out / "bundle"
    longer = "--set coarse.training.length=4epochs --set enhanced.training.length=4epochs"

    def command(line: str, place: str = "--out {}", earlier: str = "", **options: Any) -> Command:
        def words(text: str) -> Callable[[Path], list[str]]:
            return lambda path: [
                # A duration is one word of two.
                word.replace("4epochs", "4 epochs")
                for word in f"{text} {place.format(path)} --quiet".split()
            ]

        return Command(words(line), earlier=words(earlier) if earlier else None, **options)

    def train(stage: str, given: str) -> Command:
        line = f"train {stage} {data} {given} --config {config} {longer}"
        return command(line, kind="Run", again=("--resume",))

    return {
        "coarse": train("coarse", "--set coarse.training.weight_averaging=0.5"),
        "classifier": train("classifier", f"{masks} --set classifier.balance=0.5"),
        "enhanced": train("enhanced", f"{masks} {trained['coarse']} {trained['classifier']}"),
        "masks": command(
            f"masks {trained['coarse']} {data} --overwrite",
            earlier=f"masks --coarse {runs / 'coarse-fold0'} {data}",
            kind="MaskSet",
        ),
        "prepare": command(
            f"prepare --overwrite {raw}",
            place=f"{{}} --config {config}",
            earlier=f"prepare --set data.longest_side=800 {raw}",
            kind="PreparedData",
        ),
        "bundle": command(
            f"bundle {' '.join(trained.values())} {data} --overwrite",
            earlier=f"bundle {' '.join(trained.values())} --half",
            kind="Bundle",
        ),
        "export": command(f"export {bundle}", kind="Export"),
        "evaluate": command(f"evaluate --model {bundle} {data} --protocol fast", kind="Report"),
        "import-weights": command(
            f"import-weights {runs / 'coarse' / 'best.safetensors'} --config {config}", kind="Run"
        ),
        "predict": command(f"predict {raw / 'ISIC-2017_Test_v2_Data'} --model {bundle} --runtime torch", kind=None),
    }


def outcome(path: Path, kind: str | None) -> dict[str, Any]:
    """Give all that a command left at a place and that is to be the same every time."""
    if kind is None:
        return {str(file.relative_to(path)): _digest(file.read_bytes()) for file in path.rglob("*") if file.is_file()}
    from mbdcnn import artifacts

    artifact = getattr(artifacts, kind).open(path, verify=True)
    left: dict[str, Any] = {
        str(file.relative_to(path)): _digest(file.read_bytes())
        for file in path.rglob("*")
        if file.is_file() and file.name != artifact.filename and file.parent.name not in {"tensorboard", "checkpoints"}
    }
    checkpoint = path / "checkpoints" / "last.ckpt"
    left |= {"training": _training_state(checkpoint)} if checkpoint.is_file() else {}
    return left | artifact.provenance.model_dump(include={"identity", "fingerprint", "facts", "settings", "inputs"})


def _training_state(checkpoint: Path) -> Any:
    """Give weights, optimiser and schedule; how Lightning counts its epochs differs after a resumption."""
    import torch

    state = torch.load(checkpoint, weights_only=True)
    kept = {"state_dict", "optimizer_states", "lr_schedulers", "global_step", "current_model_state", "averaging_state"}
    return {name: _plain(state[name]) for name in kept & state.keys()} | {
        "table": state["callbacks"]["MetricsTable"]["rows"]
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "numpy"):
        return str(value.dtype), tuple(value.shape), _digest(value.contiguous().numpy().tobytes())
    return value


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    """Exit code; negative: the signal it died by."""
    seconds: float
    output: str
    """What it wrote on standard output and standard error."""
    changes: int
    """Events before which it could have been killed."""

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


class Processes:
    """Starts commands as processes."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "output.txt"
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("killable.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "no_proxy": "127.0.0.1"},
        )

    def run(self, arguments: list[str], **job: Any) -> Ended:
        """Run a command to its end.

        Args:
            arguments: the command.
            job: send `signal`, SIGKILL if not given, `after` so many seconds or `before` the so manieth change below
                `folder`; `patches`.
        """
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"arguments": arguments, "log": str(self.log), **job}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return Ended(**answer, output=self.log.read_text(errors="replace"))

    def close(self) -> None:
        self.process.communicate()


@dataclass
class Killing:
    """Kills one command at many moments, each time gives it again, and holds what comes of it against a whole run."""

    processes: Processes
    command: Command
    folder: Path
    kills: int = 0

    def __post_init__(self) -> None:
        self.place = self.folder / "place"
        self.whole = self.run(self.command.arguments(self.place), folder=str(self.folder))
        assert self.whole.code == 0, self.whole.output
        self.expected = outcome(self.place, self.command.kind)
        self.size = sum(file.stat().st_blocks * 512 for file in self.place.rglob("*"))
        """Bytes on the disk."""
        self.others: list[dict[str, Any]] = []
        if self.command.earlier:
            shutil.rmtree(self.place)
            assert self.run(self.command.earlier(self.place)).code == 0
            self.others = [outcome(self.place, self.command.kind)]
            self.place.rename(self.folder / "earlier")

    def run(self, arguments: list[str], **job: Any) -> Ended:
        return self.processes.run(arguments, patches=self.command.patches, **job)

    def moments(self, in_time: int, changes: int, seed: int) -> Iterator[dict[str, Any]]:
        """Spread moments over the time and the changes that a whole run takes, at random within equal parts."""
        draw = random.Random(seed)
        for part in range(in_time):
            yield {"after": self.whole.seconds * (part + draw.random()) / in_time}
        for part in range(changes):
            change = 1 + int(self.whole.changes * (part + draw.random()) / changes)
            yield {"before": change, "folder": str(self.folder)}

    def kill(self, moment: dict[str, Any], *, over_earlier: bool = False) -> None:
        """Kill it at a moment; what lies there then is whole, and a rerun ends as if nothing had been."""
        self.clear()
        if over_earlier and self.others:
            shutil.copytree(self.folder / "earlier", self.place)
        ended = self.run(self.command.arguments(self.place), **moment)
        assert ended.code in (0, -signal.SIGKILL), ended.output
        self.kills += ended.killed
        self.check_whole(moment)
        self.finish(moment)

    def finish(self, moment: dict[str, Any]) -> None:
        """Give the command again, and hold what comes of it against a whole run."""
        again = self.run([*self.command.arguments(self.place), *self.command.again])
        assert again.code == 0, (moment, again.output)
        assert outcome(self.place, self.command.kind) == self.expected, moment
        strays = {path.name for path in self.folder.iterdir()} - {"place", "earlier", ".place.old"}
        assert not strays, (moment, strays)

    def check_whole(self, moment: dict[str, Any]) -> None:
        """Let nothing lie at the place but what a whole run leaves there."""
        if not self.place.exists():
            return
        if self.command.kind is not None:
            assert outcome(self.place, self.command.kind) in [self.expected, *self.others], moment
            return
        visible = {
            name: digest
            for name, digest in outcome(self.place, None).items()
            if not Path(name).name.endswith(".part") and not any(part.startswith(".") for part in Path(name).parts)
        }
        assert visible.items() <= self.expected.items(), moment

    def clear(self) -> None:
        for path in self.folder.iterdir():
            if path.name != "earlier":
                shutil.rmtree(path)


@contextlib.contextmanager
def slow_site(files: dict[str, bytes], piece: int = 4000, wait: float = 0.01) -> Iterator[str]:
    """Serve files, ranges of them too, piece by piece; give the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.head(200, files[self.path])

        def do_GET(self) -> None:
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            content = files[self.path]
            self.head(206 if start else 200, content[start:], f"bytes {start}-{len(content) - 1}/{len(content)}")
            with contextlib.suppress(ConnectionError):
                for place in range(start, len(content), piece):
                    self.wfile.write(content[place : place + piece])
                    time.sleep(wait)

        def head(self, status: int, content: bytes, content_range: str = "") -> None:
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", content_range)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def download_command(address: str, files: dict[str, bytes]) -> Command:
    """Give the command that gets the training images of ISIC-2017 from a site."""
    checksums = {
        name.removeprefix("/"): hashlib.md5(content, usedforsecurity=False).hexdigest()
        for name, content in files.items()
    }
    line = f"download isic2017 --splits train --quiet --base-url {address} --to"
    return Command(
        lambda path: [*line.split(), str(path)],
        kind=None,
        patches={"isic2017.CHECKSUMS": checksums, "http.CHUNK": 2000},
    )


def zipped(raw: Path, folder: Path) -> dict[str, bytes]:
    """Give the files of the training images by their addresses, as the challenge's site has them."""
    for name in ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"):
        shutil.make_archive(str(folder / name), "zip", raw, name)
    shutil.copy(raw / "ISIC-2017_Training_Part3_GroundTruth.csv", folder)
    return {f"/{file.name}": file.read_bytes() for file in folder.iterdir()}
