"""Every command and every piece of Python in README and docs is run, page by page, in order, on stand-ins."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from functools import partial
from io import StringIO
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from dicom_files import lesion, photograph
from mbdcnn import config
from mbdcnn.artifacts import PreparedData
from mbdcnn.cli import main
from mbdcnn.data import read_raw
from mbdcnn.data.synthetic import draw
from pages import PAGES, Piece, pieces

pytestmark = pytest.mark.slow

NOT_RUN = {
    r"make (demo|test|bench)|source \.venv": "sets up what these tests run in, or takes minutes to hours",
    r"pip download|python -m zipfile": "fetches from the internet, and unpacks what came",
    r"pip install": "fetches from the internet; that the extras exist is tested in unit/test_docs.py",
    r"mbdcnn download": "fetches from the internet; unit/test_download.py runs it against a server of its own",
    r"--cluster|\.parquet": "starts Ray's processes; test_cluster.py runs it",
    r"docker": "there is no registry; unit/test_serving_docs.py holds the Dockerfile to the files and the command",
    r"python (experiments|benchmarks)/": "takes hours",
    r"\bFILE\b": "stands for any file; test_original_readme.py imports some",
    r"mbdcnn prepare dataset/data": "the authors' folders; unit/test_isic2017.py reads them",
    r"push_to_hub\(": "needs the hub; unit/test_hub.py runs it against a stand-in",
}
RUN_ELSEWHERE = {"parity": "test_original_readme.py runs the table's steps, with the settings they depend on"}
STAGES = ("coarse", "classifier", "enhanced")
SHORT = [f"{stage}.training.length=2 steps" for stage in STAGES]
WEIGHTS = {
    "deeplabv3_mobilenet_v2_voc.safetensors": "coarse",
    "mobilenet_v2_imagenet.safetensors": "classifier",
    "deeplabv3plus.pth": "coarse",
    "xception-43020ad28.pth": "classifier",
    "CoarseSN.pth": "coarse",
    "MaskCN.pth": "classifier",
    "EnhancedSN.pth": "enhanced",
}


def reason(text: str) -> str | None:
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, text)), None)


class Reader:
    """Does what a page says, in the current folder, and puts there what a line names and nothing has made."""

    def __init__(self, raw: Path, experiment: Path, settings: dict[str, Any]) -> None:
        self.raw, self.experiment, self.settings = raw, experiment, settings
        self.variables: dict[str, Any] = {}
        self.server: subprocess.Popen[str] | None = None
        self.port = ""
        copy = partial(shutil.copytree, symlinks=True)
        self.shelf: dict[str, Callable[[Path], object]] = {
            **dict.fromkeys(("photo.jpg", "one.jpg", "other.jpg"), self.photo),
            **dict.fromkeys(WEIGHTS, self.weights),
            "outlines": lambda path: [self.outline(path / f"{name}.png") for name in "ab"],
            "outline.png": self.outline,
            "photos": lambda path: [self.photo(path / f"{name}.jpg") for name in "ab"],
            "isic2017": lambda path: copy(raw, path),
            "bundle": lambda path: copy(experiment / "bundle", path),
            "out": lambda path: copy(experiment, path),
            "theirs": self.theirs,
            "scan.dcm": lambda path: path.write_bytes(photograph(lesion())),
            "PH2Dataset": self.ph2,
            "extra": self.extra,
            "mine.csv": self.table,
        }

    def do(self, piece: Piece) -> None:
        """Run a command line or Python."""
        if piece.kind == "python":
            self.put_there(re.findall(r'"([^"\n]+)"', piece.text))
            exec(compile(piece.text, "docs", "exec"), self.variables)
        elif piece.kind == "command":
            self.put_there([word for before, word in pairwise(piece.words) if before != "--out"])
            if piece.arguments is None:
                self.shell(piece.text)
            elif piece.arguments[0] == "serve":
                self.serve(piece.arguments)
            else:
                arguments = piece.arguments if "--help" in piece.arguments else [*piece.arguments, "--quiet"]
                code, said = self.run(arguments)
                if "give --overwrite to replace it" in said:
                    # A page shows other ways to make what it, or this reader, has made before.
                    code, said = self.run([*arguments, "--overwrite"])
                assert not code, f"{piece.text}: {said}"

    def run(self, arguments: list[str]) -> tuple[object, str]:
        with redirect_stderr(StringIO()) as said, pytest.raises(SystemExit) as ended:
            main(arguments)
        return ended.value.code, said.getvalue()

    def shell(self, text: str) -> None:
        command = text.replace(":8000", f":{self.port}").replace("curl ", "curl --fail --silent --show-error ")
        subprocess.run(["bash", "-e", "-o", "pipefail", "-c", command], check=True, capture_output=True, timeout=60)

    def serve(self, arguments: list[str]) -> None:
        command = [sys.executable, "-m", "mbdcnn", *arguments, "--port", "0"]
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.server.stdout
        self.port = self.server.stdout.readline().partition("127.0.0.1:")[2].split()[0]

    def stop(self) -> None:
        if self.server is not None:
            self.server.send_signal(signal.SIGTERM)
            self.server.communicate(timeout=60)
            assert self.server.returncode == 0

    def put_there(self, words: list[str]) -> None:
        for word in words:
            path = Path(word.rpartition("=")[2].removeprefix("image=@").removeprefix("mask=@").removeprefix("@"))
            name = path.parts[0] if path.parts else ""
            if name in self.shelf and not Path(name).exists() and (name != "out" or len(path.parts) > 1):
                self.shelf[name](Path(name))

    def write_settings(self, text: str) -> None:
        """Write settings over the tiny ones, as they would stand over the paper's, to the file that they name."""
        named = re.match(r"# (\S+\.yaml)\n", text)
        file = Path(named.group(1) if named else "unnamed.yaml")
        file.write_text(yaml.safe_dump(merged(self.settings, yaml.safe_load(text))))
        config.load_config(file)

    def photo(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        shutil.copyfile(next(self.raw.rglob("*.jpg")), path)

    def outline(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        with Image.open(next(self.raw.rglob("*.jpg"))) as photo:
            mask = Image.new("L", photo.size)
        mask.paste(255, (mask.width // 4, mask.height // 4, mask.width // 2, mask.height // 2))
        mask.save(path)

    def table(self, path: Path) -> None:
        names = config.load_config().classes
        lines = ["image,mask,label,split"]
        for each in read_raw(self.raw, names).records:
            lines.append(
                f"{each.image},{each.mask or ''},{'' if each.label is None else names[each.label]},{each.split}"
            )
        path.write_text("\n".join(lines))

    def weights(self, path: Path) -> None:
        source = self.experiment / "runs" / WEIGHTS[path.name] / "best.safetensors"
        if path.suffix == ".pth":
            torch.save(load_file(source), path)
        else:
            shutil.copyfile(source, path)

    def theirs(self, path: Path) -> None:
        path.mkdir()
        data = PreparedData.open(self.experiment / "data")
        for row in data.split("test"):
            Image.fromarray(data.truth(row)).save(path / f"{row.id}.png")

    def ph2(self, path: Path) -> None:
        random = np.random.default_rng(0)
        lines = ["|| Name || Histological Diagnosis || Clinical Diagnosis ||"]
        for name, kind, number in (("IMD002", "nevus", 0), ("IMD003", "nevus", 1), ("IMD058", "melanoma", 2)):
            image, mask = draw(random, kind, (60, 44))
            for part, file, content in (("Dermoscopic_Image", name, image), ("lesion", f"{name}_lesion", mask)):
                folder = path / "PH2 Dataset images" / name / f"{name}_{part}"
                folder.mkdir(parents=True)
                content.save(folder / f"{file}.bmp")
            lines.append(f"|| {name} || || {number} ||")
        (path / "PH2_dataset.txt").write_text("\n".join(lines))

    def extra(self, path: Path) -> None:
        path.mkdir()
        self.photo(path / "extra.jpg")
        (path / "images.csv").write_text("image,label,split\nextra.jpg,melanoma,train\n")


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = below.keys() & above.keys()
    inner = {key: merged(below[key], above[key]) for key in both if isinstance(below[key], dict)}
    return below | above | inner


@pytest.fixture(scope="module")
def settings(config_file: Path) -> dict[str, Any]:
    """The tiny configuration without networks of folds, so that a stage is one training."""
    settings: dict[str, Any] = yaml.safe_load(config_file.read_text())
    return merged(settings, {"coarse": {"folds": 0}, "calibration": {"folds": 0}})


@pytest.fixture
def reader(
    raw: Path,
    experiment: SimpleNamespace,
    settings: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Reader]:
    """Make every shipped configuration the tiny one, the shipped model the experiment's, every training two steps."""
    tiny = tmp_path_factory.mktemp("shipped") / "tiny.yaml"
    tiny.write_text(yaml.safe_dump(settings))
    load, shipped = config.load_config, {None, *config.shipped_configs()}

    def load_tiny(source: str | Path | None = None, overrides: tuple[str, ...] = ()) -> config.Config:
        made = {config.BUNDLED: tiny.with_name(config.BUNDLED), **dict.fromkeys(shipped, tiny)}
        return load(made.get(source, source), [*overrides, *SHORT])

    shutil.copytree(experiment.out / "bundle", tiny.with_name("bundled"))
    monkeypatch.setattr("mbdcnn.config.load_config", load_tiny)
    monkeypatch.setattr("mbdcnn.artifacts.builtin.resources", SimpleNamespace(files=lambda _: tiny.parent))
    monkeypatch.setenv("MBDCNN_CACHE", str(tmp_path_factory.getbasetemp() / "graphs"))
    monkeypatch.chdir(tmp_path)
    reader = Reader(raw, experiment.out, settings)
    yield reader
    reader.stop()


def run_pieces(page: Path) -> list[Piece]:
    return [] if page.stem in RUN_ELSEWHERE else [each for each in pieces(page) if not reason(each.text)]


@pytest.mark.parametrize("page", [page for page in PAGES if run_pieces(page)], ids=lambda page: page.stem)
def test_a_page(page: Path, reader: Reader) -> None:
    for piece in run_pieces(page):
        if piece.kind == "yaml":
            reader.write_settings(piece.text)
    for piece in run_pieces(page):
        reader.do(piece)


def test_what_is_not_run_is_there() -> None:
    """An excuse that nothing needs any more would excuse something new."""
    texts = [piece.text for page in PAGES for piece in pieces(page)]
    assert len(texts) > 70
    assert not [pattern for pattern in NOT_RUN if not any(re.search(pattern, text) for text in texts)]
