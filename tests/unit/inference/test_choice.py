"""The runtime that is chosen where none is named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from mbdcnn.artifacts import Bundle
from mbdcnn.errors import UserError
from mbdcnn.inference import choice
from mbdcnn.inference.choice import Trial, fastest_runtime
from mbdcnn.inference.protocol import Guidance
from mbdcnn.inference.runtimes import load_core

FAST, SLOW = 0.0, 0.05


class TintedCore:
    """The networks in torch, some seconds later, with probabilities a little moved."""

    def __init__(self, bundle: Bundle, seconds: float, moved: float = 0.0) -> None:
        self.core, self.seconds, self.moved = load_core(bundle, "torch", "cpu"), seconds, moved

    def coarse(self, pixels):
        time.sleep(self.seconds)
        return self.core.coarse(pixels)

    def classify(self, pixels, masks):
        guidance = self.core.classify(pixels, masks)
        return Guidance(guidance.logits + np.float32([self.moved, 0, 0]), *guidance[1:])

    def enhance(self, pixels, activation_maps):
        return self.core.enhance(pixels, activation_maps)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MBDCNN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tried(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runtimes that were loaded: openvino is fast but wrong, onnx the fastest that is right."""
    names: list[str] = []

    def load(given: Bundle, name: str, device: str) -> TintedCore:
        assert (given, device) == (bundle, "cpu")
        names.append(name)
        return TintedCore(bundle, FAST if name in ("onnx", "openvino") else SLOW, 0.5 * (name == "openvino"))

    monkeypatch.setattr(choice, "find_spec", lambda package: object())
    monkeypatch.setattr(choice, "version", lambda package: "1")
    monkeypatch.setattr(choice, "load_core", load)
    return names


def test_the_fastest_that_agrees_is_found_once(bundle: Bundle, tried: list[str]) -> None:
    assert fastest_runtime(bundle, "cpu") == "onnx"
    assert tried == ["torch", "onnx", "openvino"]
    assert fastest_runtime(bundle, "cpu") == "onnx"
    assert len(tried) == 3


def test_one_that_starts_sooner_is_preferred_unless_far_slower(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tried: list[str]
) -> None:
    seconds = {"torch": 1.0, "onnx": 1.15, "openvino": 1.0}
    nothing = np.zeros((1, 3)), np.zeros((1, 4, 4))
    monkeypatch.setattr(choice, "load_core", lambda bundle, name, device: name)
    monkeypatch.setattr(choice, "_look", lambda name, inputs: Trial(nothing, seconds[name]))
    for change, chosen in (({}, "onnx"), ({"onnx": 1.25}, "openvino"), ({"openvino": 2, "onnx": 1.3}, "torch")):
        seconds |= change
        shutil.rmtree(choice.cache_folder(), ignore_errors=True)
        assert fastest_runtime(bundle, "cpu") == chosen


def test_another_version_or_a_damaged_record_is_measured_anew(
    bundle: Bundle, tried: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fastest_runtime(bundle, "cpu")
    (record,) = (tmp_path / "cache" / "fastest").iterdir()
    assert json.loads(record.read_text())["runtime"] == "onnx"
    for content in ("", "{}", "[]", '{"runtime": "magic"}', '{"runtime": 3}', "[" * 100_000):
        record.write_text(content)
        tried.clear()
        assert fastest_runtime(bundle, "cpu") == "onnx"
        assert len(tried) == 3
    monkeypatch.setattr(choice, "version", lambda package: "2")
    fastest_runtime(bundle, "cpu")
    assert len(tried) == 6
    assert len(list((tmp_path / "cache" / "fastest").iterdir())) == 2


def test_a_cache_that_cannot_be_written_leaves_torch_and_is_told(
    bundle: Bundle, tried: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    assert fastest_runtime(bundle, "cpu") == "torch"
    assert not tried
    assert "Set MBDCNN_CACHE" in caplog.text


def test_one_that_fails_is_told_and_tried_again_next_time(
    bundle: Bundle, tried: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load = choice.load_core

    def fail(given: Bundle, name: str, device: str) -> TintedCore:
        if name == "onnx":
            raise RuntimeError("no operator of\nthis name")
        return load(given, name, device)

    monkeypatch.setattr(choice, "load_core", fail)
    assert fastest_runtime(bundle, "cpu") == "torch"
    assert "runtime onnx is left out: no operator of\\nthis name" in caplog.text
    assert not list((tmp_path / "cache" / "fastest").iterdir())
    monkeypatch.setattr(choice, "load_core", load)
    assert fastest_runtime(bundle, "cpu") == "onnx"


def test_a_model_that_torch_cannot_run_is_refused(bundle: Bundle, tried: list[str], monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise UserError("damaged")

    monkeypatch.setattr(choice, "load_core", fail)
    with pytest.raises(UserError, match="damaged"):
        fastest_runtime(bundle, "cpu")


def test_a_record_that_cannot_be_written_is_told(
    bundle: Bundle, tried: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert fastest_runtime(bundle, "cpu") == "onnx"
    assert "No space left on device; they will be tried out again" in caplog.text
    assert not list((tmp_path / "cache" / "fastest").iterdir())


def test_another_model_processor_or_share_of_it_is_another_choice(
    bundle: Bundle, tried: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = (
        lambda: monkeypatch.setattr(choice, "content_key", lambda bundle: "another"),
        lambda: monkeypatch.setattr(choice.os, "sched_getaffinity", lambda process: set(range(99)), raising=False),
        lambda: monkeypatch.setenv("OMP_NUM_THREADS", "98"),
        lambda: monkeypatch.setattr(Path, "read_text", lambda file: "model name: another"),
    )
    fastest_runtime(bundle, "cpu")
    for number, change in enumerate(changes, start=2):
        change()
        fastest_runtime(bundle, "cpu")
        assert len(tried) == 3 * number
    fastest_runtime(bundle, "auto")
    assert len(tried) == 3 * (len(changes) + 2)


def test_a_package_under_another_name_has_no_version(bundle: Bundle, tried: list[str], monkeypatch) -> None:
    def unknown(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(choice, "version", unknown)
    assert fastest_runtime(bundle, "cpu") == "onnx"


def test_torch_where_there_is_a_gpu_or_nothing_else(
    bundle: Bundle, tried: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fastest_runtime(bundle, "cuda:1") == "torch"  # nor is the cache touched
    assert not choice.cache_folder().exists()
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert fastest_runtime(bundle, "auto") == "torch"
    assert not tried
    monkeypatch.setattr(choice, "find_spec", lambda package: object() if package == "torch" else None)
    assert fastest_runtime(bundle, "cpu") == "torch"
    assert not tried


def test_what_is_remembered_needs_no_torch(bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    fastest_runtime(bundle, "auto")
    (record,) = (tmp_path / "cache").glob("fastest/*.json")
    record.write_text('{"runtime": "onnx"}')
    program = (
        "import sys\nfrom mbdcnn.inference.predictor import Predictor\n"
        "core = Predictor.load(sys.argv[1], runtime='auto').core\n"
        "assert type(core).__name__ == 'OnnxCore' and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(bundle.path)], check=True, timeout=120)
