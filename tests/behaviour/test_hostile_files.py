"""Checkpoints, bundles, configurations, tables and archives from strangers: nothing they hold is run or let out."""

from __future__ import annotations

import csv
import json
import os
import pickle
import shutil
import struct
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from doors import check_reason
from mbdcnn.artifacts import Bundle, PreparedData, draft_path
from mbdcnn.artifacts.provenance import file_digest, fingerprint
from mbdcnn.bundling.imports import import_run
from mbdcnn.bundling.write import describe_results
from mbdcnn.cli import main
from mbdcnn.config import Config, load_config
from mbdcnn.data import read_raw
from mbdcnn.data.download.isic_archive import read_ids
from mbdcnn.data.readers import ph2, table
from mbdcnn.data.readers.isic2017 import read_labels
from mbdcnn.errors import UserError
from mbdcnn.evaluation.files import open_predictions
from mbdcnn.evaluation.report.training_runs import training_curves
from mbdcnn.inference import ood
from mbdcnn.inference.networks import load_model
from mbdcnn.inference.predictor import Predictor
from mbdcnn.models.checkpoints import import_state_dict
from mbdcnn.models.weights import load_weights, read_state_dict
from mbdcnn.training.fit import MARK, train

CLASSES = ("nevus", "melanoma", "seborrheic_keratosis")


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    check_reason(str(caught.value))
    return str(caught.value)


@dataclass
class Attack:
    """Makes a folder when it is unpickled."""

    folder: Path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def as_zip(content: object, file: Path) -> None:
    torch.save(content, file)


def as_pickle(content: object, file: Path) -> None:
    file.write_bytes(pickle.dumps(content))


def as_old_torch(content: object, file: Path) -> None:
    torch.save(content, file, _use_new_zipfile_serialization=False)


@pytest.fixture(params=[as_zip, as_pickle, as_old_torch])
def trap(request: pytest.FixtureRequest, tmp_path: Path) -> SimpleNamespace:
    """A checkpoint that runs code, in each form that torch reads; `sprung` tells whether it did."""
    file, owned = tmp_path / "foreign.pth", tmp_path / "owned"
    request.param({"state_dict": {"head.weight": torch.zeros(2), "x": Attack(owned)}}, file)
    return SimpleNamespace(file=file, sprung=owned.exists)


class TestNothingIsRun:
    def test_the_trap_works(self, trap: SimpleNamespace) -> None:
        """Or the tests below would prove nothing."""
        with suppress(RuntimeError):  # once it has run, a bare pickle is found to be no checkpoint
            torch.load(trap.file, weights_only=False)
        assert trap.sprung()

    def test_import_weights(self, trap: SimpleNamespace, tmp_path: Path, tiny_config) -> None:
        message = refusal(lambda: import_run(trap.file, tmp_path / "run", tiny_config()))
        assert "not a torch file of plain tensors" in message
        assert not trap.sprung()
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("ending", [".pth", ".pt", ".ckpt", ".bin", ".safetensors", ""])
    def test_whatever_it_is_called(self, trap: SimpleNamespace, ending: str) -> None:
        refusal(lambda: read_state_dict(trap.file.rename(trap.file.with_suffix(ending))))
        assert not trap.sprung()

    def test_initial_weights(self, trap: SimpleNamespace, data: PreparedData, tmp_path: Path, tiny_config) -> None:
        config = tiny_config(f"coarse.initial_weights={trap.file}")
        refusal(lambda: train("coarse", data, tmp_path / "run", config))
        assert not trap.sprung()

    def test_resume(self, trap: SimpleNamespace, data: PreparedData, tmp_path: Path, tiny_config) -> None:
        run = tmp_path / "run"
        config = tiny_config()

        def stop(done: int, total: int, note: str = "") -> None:
            if done == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train("coarse", data, run, config, progress=stop)
        checkpoint = (draft_path(run) / MARK).with_name("last.ckpt")
        assert checkpoint.is_file()
        trap.file.replace(checkpoint)
        message = refusal(lambda: train("coarse", data, run, config, interrupted="resume"))
        assert message == f"{checkpoint}: no checkpoint of plain values, or damaged; begin again with --overwrite"
        assert not trap.sprung()

    @pytest.mark.parametrize("name", ["coarse.safetensors", ood.FILE])
    def test_a_pickle_called_safetensors_in_a_bundle(self, trap: SimpleNamespace, copy: Bundle, name: str) -> None:
        trap.file.replace(copy.path / name)
        seal(copy.path)
        assert name in refusal(lambda: Predictor.load(copy.path, device="cpu"))
        assert not trap.sprung()

    @pytest.mark.parametrize("pack", ["pickle", "zip"])
    def test_arrays_of_prepared_data(self, data: PreparedData, tmp_path: Path, pack: str) -> None:
        folder = tmp_path / "data"
        shutil.copytree(data.path, folder)
        array = folder / "patches.npy"
        if pack == "pickle":
            np.save(array, np.array([Attack(tmp_path / "owned")]), allow_pickle=True)
        else:
            with array.open("wb") as stream:
                np.savez(stream, patches=np.zeros((2, 2), np.uint8))
        message = refusal(lambda: PreparedData.open(folder).patches)
        assert message == f"{array}: missing or damaged; make its folder again"
        assert not (tmp_path / "owned").exists()

    @pytest.mark.parametrize(
        "text",
        [
            "seed: !!python/object/apply:os.mkdir [owned]",
            "seed: !!python/name:os.mkdir",
            "!!python/object/new:os.mkdir [owned]",
            "seed: !!python/module:os",
            "seed: !mine {a: 1}",
        ],
    )
    def test_tags_of_yaml(self, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "a.yaml").write_text(text)
        assert "not YAML: could not determine a constructor" in refusal(lambda: load_config(tmp_path / "a.yaml"))
        assert not (tmp_path / "owned").exists()


def itself() -> dict[str, Any]:
    content: dict[str, Any] = {}
    content["model"] = content
    return content


STATES: dict[str, Callable[[], object]] = {
    "itself": itself,
    "a list of itself": lambda: [itself()],
    "numbers for names": lambda: {1: torch.zeros(1)},
    "no tensors": lambda: {"a": "b"},
    "a sparse tensor": lambda: {"decoder.head.weight": torch.zeros(3, 3).to_sparse()},
    "an empty tensor": lambda: {"decoder.head.weight": torch.zeros(3, device="meta")},
    "a tensor without sides": lambda: {
        "backbone.conv1.weight": torch.tensor(1.0),
        "cls_conv.weight": torch.tensor(1.0),
    },
    "one number a billion times": lambda: {
        "backbone.conv1.weight": torch.zeros(1).expand(1000, 3, 1000, 1000),
        "cls_conv.weight": torch.zeros(1).expand(2, 10**6, 10**6),
    },
    "the same for a classifier": lambda: {
        "block11.rep.1.conv1.weight": torch.zeros(1),
        "conv1.weight": torch.zeros(1).expand(10**5, 3, 10**3, 10**3),
    },
    "the same for MobileNet": lambda: {
        "features.1.conv.0.0.weight": torch.zeros(1),
        "features.0.0.weight": torch.zeros(1).expand(10**5, 3, 10**3, 10**3),
        "concat_projection.0.weight": torch.zeros(1).expand(10**6, 10**6, 1, 1),
    },
    "the same for an ensemble": lambda: {
        "encoder.members.0.features.0.0.weight": torch.zeros(1),
        "head.weight": torch.zeros(1).expand(10**7, 10**7),
    },
    "an ensemble without columns": lambda: {
        "encoder.members.0.features.0.0.weight": torch.zeros(1),
        "head.weight": torch.zeros(3),
    },
    "an ensemble without sides": lambda: {
        "encoder.members.0.features.0.0.weight": torch.zeros(1),
        "head.weight": torch.tensor(1.0),
    },
}


class TestWeights:
    @pytest.mark.parametrize("kind", STATES)
    @pytest.mark.parametrize("stage", ["coarse", "classifier"])
    def test_states_that_are_none(self, kind: str, stage: str, tmp_path: Path, tiny_config) -> None:
        """None hangs, or takes memory that its file does not have."""
        torch.save(STATES[kind](), tmp_path / "x.pth")
        for config in (tiny_config(), load_config("paper", SMALL)):
            refusal(lambda config=config: import_run(tmp_path / "x.pth", tmp_path / "run", config, stage))

    def test_a_compressed_torch_file_is_a_bomb(self, tmp_path: Path) -> None:
        torch.save({"a": torch.zeros(1_000_000)}, tmp_path / "x.pth")
        with zipfile.ZipFile(tmp_path / "x.pth") as plain, zipfile.ZipFile(tmp_path / "y.pth", "w", 8) as packed:
            for entry in plain.infolist():
                packed.writestr(entry.filename, plain.read(entry), zipfile.ZIP_DEFLATED)
        assert (tmp_path / "y.pth").stat().st_size < 20_000
        assert "a compressed zip file" in refusal(lambda: read_state_dict(tmp_path / "y.pth"))
        assert len(read_state_dict(tmp_path / "x.pth")["a"]) == 1_000_000

    @pytest.mark.parametrize(
        "header",
        [
            b"",
            b"{}garbage",
            b"[" * 100_000,
            b'{"a": {"dtype": "F32", "shape": [1000000000000], "data_offsets": [0, 4]}}',
            b'{"a": {"dtype": "F32", "shape": [4611686018427387904, 4], "data_offsets": [0, 4]}}',
            b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 400000000000]}}',
            b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}',
            b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}',
            b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
            b'{"a": {"dtype": "Q99", "shape": [1], "data_offsets": [0, 4]}}',
            b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},'
            b' "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
        ],
    )
    def test_headers_that_lie(self, header: bytes, tmp_path: Path) -> None:
        file = tmp_path / "x.safetensors"
        file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
        assert "not a complete safetensors file" in refusal(lambda: read_state_dict(file))

    @pytest.mark.parametrize("length", [0, 7, 2**31, 2**63 - 1, 2**64 - 1])
    def test_lengths_of_headers_that_lie(self, length: int, tmp_path: Path) -> None:
        file = tmp_path / "x.safetensors"
        file.write_bytes(struct.pack("<Q", length) + b"{}" + bytes(40))
        assert "not a complete safetensors file" in refusal(lambda: read_state_dict(file))

    @pytest.mark.parametrize(
        "change",
        [
            lambda tensor: tensor.long(),
            lambda tensor: tensor.bool(),
            lambda tensor: torch.full_like(tensor, torch.nan),
            lambda tensor: torch.full_like(tensor, torch.inf),
        ],
    )
    def test_values_that_are_no_weights(self, change, copy: Bundle) -> None:
        """Read as they are, they would become a model that says nothing and says it surely."""
        file = copy.weights("classifier")
        state = load_file(file)
        save_file(state | {"head.weight": change(state["head.weight"])}, file)
        message = refusal(lambda: load_weights(file, load_model_of(copy).classifier))
        assert "head.weight does not hold the numbers of a trained network" in message

    def test_what_does_not_fit_changes_nothing(self, bundle: Bundle) -> None:
        network = load_model_of(bundle).coarse
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        stem = "encoder.features.0.0.weight"
        with pytest.raises(UserError, match=f"{stem} is"):
            import_state_dict(network, before | {stem: torch.zeros(1).expand(99, 3, 3, 3)})
        torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)


SMALL = tuple(f"{stage}.network.width=0.05" for stage in ("coarse", "classifier", "enhanced"))


def load_model_of(bundle: Bundle) -> Any:
    return load_model(bundle)


@pytest.fixture
def copy(bundle: Bundle, tmp_path: Path) -> Bundle:
    shutil.copytree(bundle.path, tmp_path / "bundle")
    return Bundle.open(tmp_path / "bundle")


def seal(folder: Path, change: Callable[[dict[str, Any]], object] = lambda content: None) -> None:
    """Change a bundle's manifest and make its checksums right again, as a foreign who means it would."""
    file = folder / Bundle.filename
    content = json.loads(file.read_text())
    content["files"] = {name: file_digest(folder / name) for name in content["files"] if (folder / name).is_file()}
    change(content)
    identity = Bundle.identity_of(content["settings"], content["inputs"])
    content |= {"identity": identity, "fingerprint": fingerprint([identity, content["files"]])}
    file.write_text(json.dumps(content))


class TestBundles:
    def test_a_whole_one_loads_without_first_filling_its_memory(self, copy: Bundle, monkeypatch) -> None:
        """What an untrusted configuration asks for is taken only once its weights have it."""
        drawn: list[torch.Size] = []
        monkeypatch.setattr(torch.nn.init, "kaiming_uniform_", lambda tensor, **_: drawn.append(tensor.device.type))
        model = load_model(copy)
        assert set(drawn) == {"meta"}
        assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
        state = load_file(copy.weights("coarse"))
        torch.testing.assert_close(dict(model.coarse.state_dict()), state, rtol=0, atol=0)

    @pytest.mark.parametrize("name", ["coarse.safetensors", "config.yaml", "ids.json", ood.FILE])
    @pytest.mark.parametrize("command", ["predict", "evaluate", "export", "serve"])
    def test_a_file_that_was_changed_is_found(
        self, copy: Bundle, name: str, command: str, data: PreparedData, tmp_path: Path, capsys
    ) -> None:
        content = bytearray((copy.path / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy.path / name).write_bytes(content)
        out, given = str(tmp_path / "out"), str(copy.path)
        line = {
            "predict": ["predict", str(data.path / "truth"), "--model", given, "--out", out],
            "evaluate": ["evaluate", "--model", given, "--data", str(data.path), "--out", out],
            "export": ["export", given, "--out", out],
            "serve": ["serve", "--model", given, "--port", "0"],
        }[command]
        with pytest.raises(SystemExit) as finished:
            main(line)
        assert finished.value.code == 1
        assert capsys.readouterr().err.strip() == (
            f"mbdcnn: {copy.path / name}: damaged: its checksum is not the one in config.json; make it again"
        )
        assert not (tmp_path / "out").exists()

    def test_starting_weights_that_were_changed_are_found(self, copy: Bundle, data, tmp_path, tiny_config) -> None:
        (copy.path / "ids.json").write_text("{}")
        config = tiny_config(f"coarse.initial_weights={copy.path}")
        assert "its checksum is not the one" in refusal(lambda: train("coarse", data, tmp_path / "run", config))

    @pytest.mark.parametrize("key", ["files", "settings", "inputs", "fingerprint"])
    def test_a_list_of_checksums_that_was_changed_is_found(self, copy: Bundle, key: str) -> None:
        (copy.path / "ids.json").write_text("{}")
        file = copy.path / Bundle.filename
        content = json.loads(file.read_text())
        content["files"]["ids.json"] = file_digest(copy.path / "ids.json")
        if key == "fingerprint":
            content[key] = "0" * 64
        elif key != "files":
            content[key]["more"] = "1"
        file.write_text(json.dumps(content))
        assert "its content and its fingerprint differ" in refusal(lambda: Bundle.open(copy.path, verify=True))

    @pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "sub/../../secret", "..\\secret", "a/b"])
    def test_names_that_lead_out_are_never_opened(self, copy: Bundle, name: str, monkeypatch) -> None:
        (copy.path.parent / "secret").write_text("x")
        seal(copy.path, lambda content: content["files"].update({name: "0" * 64}))
        opened: list[Path] = []
        monkeypatch.setattr("mbdcnn.artifacts.base.file_digest", lambda file: opened.append(file) or "")
        assert "is missing" in refusal(lambda: [Bundle.open(copy.path, verify=verify) for verify in (False, True)])
        assert not opened

    def test_a_link_is_only_read_and_a_device_never(self, copy: Bundle, tmp_path: Path) -> None:
        """The hub's own cache is made of links; whatever they lead to is checked as if it lay there."""
        weights = copy.weights("coarse")
        blob = weights.rename(tmp_path / "blob")
        weights.symlink_to(blob)
        assert Predictor.load(copy.path, device="cpu")
        for target in ("/dev/zero", "/etc/hostname", tmp_path / "nothing", weights):
            weights.unlink()
            weights.symlink_to(target)
            assert "coarse.safetensors" in refusal(lambda: Predictor.load(copy.path, device="cpu"))

    @pytest.mark.parametrize("name", ["README.md", ".README.md.part"])
    def test_results_are_not_written_through_a_link(self, copy: Bundle, tmp_path: Path, name: str, monkeypatch) -> None:
        """Nor is what it leads to copied into the bundle, to be published with it."""
        mine, card = tmp_path / "mine", copy.path / "README.md"
        mine.write_text("# mine")
        (copy.path / name).unlink(missing_ok=True)
        (copy.path / name).symlink_to(mine)
        monkeypatch.setattr("mbdcnn.bundling.write.with_results", lambda card, *_: card + "results")
        describe_results(copy, "Test", {})
        assert mine.read_text() == "# mine"
        assert card.is_symlink() == (name == "README.md")
        assert card.is_symlink() or card.read_text().endswith("results")

    @pytest.mark.parametrize(
        "setting",
        [
            "coarse.network.width=8",
            "classifier.network.width=8",
            "enhanced.network.decoder_channels=1000000",
            "coarse.network.low_level_channels=100000000",
        ],
    )
    def test_networks_of_a_terabyte(self, copy: Bundle, setting: str) -> None:
        """A few words of configuration ask for them; nothing is taken before the weights are seen to be others."""
        file = copy.path / "config.yaml"
        file.write_text(as_yaml(load_config(copy.path, [setting])))
        seal(copy.path)
        assert "not the weights of this" in refusal(lambda: Predictor.load(copy.path, device="cpu"))

    @pytest.mark.parametrize(
        "setting",
        [
            "coarse.network.depth=1000000000",
            "coarse.network.width=1e9",
            f"coarse.network.dilations={[1] * 1000}",
            f"data.views.fractions={[1] * 1000}",
            "data.image_size=1600000000",
            "data.scales=[224, 16000000]",
        ],
    )
    def test_settings_no_network_has(self, setting: str) -> None:
        refusal(lambda: load_config("compact", [setting]))

    def test_the_configuration_of_a_folder_stands_alone(self, copy: Bundle) -> None:
        (copy.path.parent / "elsewhere.yaml").write_text("seed: 3")
        (copy.path / "config.yaml").write_text("base: ../elsewhere.yaml")
        assert "names a base, but must be whole" in refusal(lambda: copy.config)

    @pytest.mark.parametrize("content", [b"", b"[]", b"nonsense", b"[" * 10**5, b"\xff", b'{"training": {"a": 1}}'])
    def test_ids_that_are_none(self, copy: Bundle, content: bytes) -> None:
        (copy.path / "ids.json").write_bytes(content)
        assert "ids.json: " in refusal(lambda: copy.seen("training").ids)

    @pytest.mark.parametrize(
        "change",
        [
            lambda arrays: arrays.pop("limits"),
            lambda arrays: arrays.update({"features.directions": torch.zeros(3, 2)}),
            lambda arrays: arrays.update({"features.mean": torch.zeros(0)}),
            lambda arrays: arrays.update({"surprise": torch.zeros(7)}),
            lambda arrays: arrays.update({"statistics.deviations": torch.zeros(99)}),
            lambda arrays: arrays.update({"limits": torch.full((4,), torch.nan)}),
            lambda arrays: arrays.update({"limits": torch.zeros(0)}),
            lambda arrays: arrays.update({"scale": torch.zeros(15, dtype=torch.bfloat16)}),
        ],
    )
    def test_an_ood_scorer_that_is_none(self, copy: Bundle, change) -> None:
        file = copy.path / ood.FILE
        arrays = load_file(file)
        change(arrays)
        save_file(arrays, file)
        seal(copy.path)
        assert ood.FILE in refusal(lambda: Predictor.load(copy.path, device="cpu"))

    @pytest.mark.parametrize(
        "change",
        [
            lambda facts: facts.update(calibration=[]),
            lambda facts: facts.update(calibration={"fast": 3}),
            lambda facts: facts["calibration"]["fast"].update(temperature=0),
            lambda facts: facts["calibration"]["fast"].update(temperature=float("nan")),
            lambda facts: facts["calibration"]["fast"]["operating_points"][0].update(class_name="none"),
            lambda facts: facts["calibration"]["fast"].update(code="import os"),
        ],
    )
    def test_a_calibration_that_is_none(self, copy: Bundle, change) -> None:
        seal(copy.path, lambda content: change(content["facts"]))
        predictor = Predictor.load(copy.path, device="cpu")
        message = refusal(lambda: predictor.predict(np.full((30, 40, 3), 99, np.uint8)))
        assert message.startswith(f"{copy.path / Bundle.filename}: calibration")

    @pytest.mark.parametrize("text", ["", "step\n1", "step,jaccard\none,0.5\n", f"step,jaccard\n{'x' * 200_000},1\n"])
    def test_curves_that_are_none(self, experiment, tmp_path: Path, text: str) -> None:
        shutil.copytree(experiment.out / "runs" / "coarse", tmp_path / "runs" / "coarse")
        shutil.copytree(experiment.out / "bundle", tmp_path / "bundle")
        (tmp_path / "runs" / "coarse" / "metrics.csv").write_text(text)
        bundle = Bundle.open(tmp_path / "bundle")
        if "," in text:
            assert "metrics.csv: damaged" in refusal(lambda: training_curves(bundle))
        else:
            assert not training_curves(bundle)

    def test_an_ood_scorer_of_another_network(self, copy: Bundle) -> None:
        file = copy.path / ood.FILE
        arrays = load_file(file)
        arrays["features.mean"] = torch.zeros(len(arrays["features.mean"]) + 1)
        arrays["features.directions"] = torch.zeros(len(arrays["features.directions"]), len(arrays["features.mean"]))
        save_file(arrays, file)
        seal(copy.path)
        predictor = Predictor.load(copy.path, device="cpu")
        image = np.full((30, 40, 3), 99, np.uint8)
        assert "of another network than the bundle's" in refusal(lambda: predictor.predict(image))


def as_yaml(config: Config) -> str:
    return json.dumps(config.model_dump(mode="json"))


def nested(levels: int, opening: str = "[{}]", times: int = 9) -> str:
    """Name a value many times on each level: one of `times ** levels` values in a few lines."""
    lines = ["a0: &a0 1" if opening == "[{}]" else "a0: &a0 {x: 1}"]
    for level in range(1, levels):
        inner = ", ".join(opening[1:-1].format(f"*a{level - 1}", key=f"k{number}") for number in range(times))
        lines.append(f"a{level}: &a{level} {opening[0]}{inner}{opening[-1]}")
    return "\n".join(lines)


YAML_BOMBS = {
    "lists of lists": nested(10),
    "mappings of mappings": nested(10, "{{key}: {}}"),
    "merged mappings": "a0: &a0 {"
    + ", ".join(f"k{number}: 1" for number in range(50))
    + "}\n"
    + "\n".join(f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 50)}]}}" for level in range(1, 8)),
    "a value that holds itself": "seed: &a [*a]",
    "a mapping that holds itself": "coarse: &a {network: *a}",
    "deep": "seed: " + "[" * 50_000,
    "long": "seed: [" + "1, " * 60_000 + "1]",
    "many values": "seed: [" + "1, " * 20_000 + "1]",
    "a number of many digits": "seed: " + "9" * 50_000,
    "a number in sixties": "seed: 1" + ":1" * 20_000,
    "keys that are lists": "? [1, 2]\n: 3",
    "no UTF-8": "seed: \udcff",
    "noughts": "seed: \0",
}


class TestSettings:
    @pytest.mark.slow
    @pytest.mark.parametrize("kind", YAML_BOMBS)
    def test_bombs(self, kind: str, tmp_path: Path) -> None:
        file = tmp_path / "a.yaml"
        file.write_text(YAML_BOMBS[kind], errors="surrogateescape")
        started = time.process_time()
        assert str(file) in refusal(lambda: load_config(file))
        assert time.process_time() - started < 5

    def test_brackets_may_lie_in_one_another_to_a_depth(self, tmp_path: Path) -> None:
        file = tmp_path / "a.yaml"
        for depth, said in ((100, "seed"), (101, "brackets nested more than 100 deep")):
            file.write_text("seed: " + "[" * depth + "]" * depth)
            assert said in refusal(lambda: load_config(file))

    def test_bombs_in_two_files(self, tmp_path: Path) -> None:
        for name, more in (("a", "base: b.yaml\n"), ("b", "")):
            (tmp_path / f"{name}.yaml").write_text(more + nested(30, "{{key}: {}}", 2))
        refusal(lambda: load_config(tmp_path / "a.yaml"))

    @pytest.mark.parametrize("base", ["../x/a.yaml", "./a.yaml", "a.yaml", "x" * 5000, "[1]", "\\0"])
    def test_a_base_that_leads_in_a_circle_or_nowhere(self, base: str, tmp_path: Path, monkeypatch) -> None:
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "a.yaml").write_text(f'base: "{base}"')
        monkeypatch.chdir(tmp_path)
        refusal(lambda: load_config("x/a.yaml"))

    def test_aliases_and_merges_as_people_use_them(self, tmp_path: Path) -> None:
        file = tmp_path / "a.yaml"
        file.write_text("coarse: {training: &a {batch_size: 3}}\nenhanced: {training: {<<: *a, weight_decay: 0.5}}\n")
        config = load_config(file)
        assert (config.enhanced.training.batch_size, config.enhanced.training.weight_decay) == (3, 0.5)


HUGE = "x" * 200_000


class TestTables:
    @pytest.mark.parametrize(
        "text",
        [
            f"image,label,split\n{HUGE},nevus,test\n",
            f"image,{HUGE},label,split\n",
            f'image,label,split\n"{HUGE}',
            f"image,label,split\n{'a/' * 60_000}x.png,nevus,test\n{'a/' * 60_000}x.png,nevus,test\n",
            f"image,label,split\n{'a/' * 2_000}x.png,nevus,test\n",
            "image,label,split\n\0.png,nevus,test\n",
            "image,label,split\na\0.png,nevus,test\0\n",
            "image,label,split\n~nobody-of-this-name/a.png,nevus,test\n",
            "image,label,split\n=HYPERLINK(A1),nevus,test\n",
            "image,label,split\na.png,\"=cmd|' /C calc'!A0\",test\n",
            "image,label,split\n/dev/zero,nevus,test\n",
            "image,label,split\n/dev/stdin,nevus,test\n",
            "image,label,split\n.,nevus,test\n",
            "image,label,split\na.png,nevus,../../test\n",
            "id,image,label,split\n../../a,a.png,nevus,test\n",
            "id,image,label,split\na\x1b[2J,a.png,nevus,test\n",
            "\x00" * 1000,
            "," * 100_000,
        ],
    )
    def test_a_table_of_images(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(b"")
        (tmp_path / "table.csv").write_text(text)
        started = time.process_time()
        refusal(lambda: read_raw(tmp_path / "table.csv", CLASSES))
        assert time.process_time() - started < 5

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
    def test_other_encodings(self, encoding: str, tmp_path: Path) -> None:
        file = tmp_path / "table.csv"
        file.write_text("image,label,split\nä.png,nevus,test\n", encoding=encoding)
        for read in (
            lambda: table.read(file, CLASSES),
            lambda: read_labels(file, CLASSES, ["ä"]),
            lambda: read_ids(file),
        ):
            assert str(file) in refusal(read)

    @pytest.mark.parametrize(
        "text", [f"isic_id\n{HUGE}\n", f"{HUGE}\n", "isic_id\nISIC_0000001\0\n", "=1+1\n", "ISIC_0000001; rm -r\n"]
    )
    def test_a_list_of_ids(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "ids.csv").write_text(text)
        message = refusal(lambda: read_ids(tmp_path / "ids.csv"))
        assert message.startswith(str(tmp_path / "ids.csv"))

    @pytest.mark.parametrize(
        "text",
        [
            f"image_id,melanoma,seborrheic_keratosis\n{HUGE},0,0\n",
            f"{HUGE}\n",
            "image_id,melanoma,seborrheic_keratosis\na,=1,0\n",
            "image_id,melanoma,seborrheic_keratosis\na,nan,0\n",
            "image_id,melanoma,seborrheic_keratosis\na,1e999,0\n",
            "image_id,melanoma,seborrheic_keratosis\na\n",
        ],
    )
    def test_labels(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "labels.csv").write_text(text)
        refusal(lambda: read_labels(tmp_path / "labels.csv", CLASSES, ["a"]))

    @pytest.mark.parametrize(
        "text",
        [
            f"id,melanoma,seborrheic_keratosis\n{HUGE},0,0\n",
            f"{HUGE},melanoma,seborrheic_keratosis\n",
            "id,melanoma,seborrheic_keratosis\na,=0.5,0\n",
            "id,melanoma,seborrheic_keratosis\na,1e999,0\n",
            "id,melanoma,seborrheic_keratosis\n\0,1\0,0\n",
        ],
    )
    def test_predictions(self, text: str, tmp_path: Path, data: PreparedData) -> None:
        (tmp_path / "p.csv").write_text(text)
        refusal(lambda: open_predictions(tmp_path / "p.csv", CLASSES, data.rows))

    def test_a_name_that_is_a_formula_is_found_again(self, data: PreparedData, tmp_path: Path) -> None:
        """`predictions.csv` has a quote before it."""
        (tmp_path / "p.csv").write_text("name,melanoma,seborrheic_keratosis\n'=a,0.5,0.25\n'b,0.5,0.25\n")
        rows = [replace(row, id=name) for row, name in zip(data.rows, ("=a", "'b"), strict=False)]
        method = open_predictions(tmp_path / "p.csv", CLASSES, rows)
        assert method.probabilities.keys() == {"=a", "'b"}

    @pytest.mark.parametrize("cell", ["XFD1048576", "A1048576", "ZZZ1"])
    def test_a_sheet_with_a_cell_far_out(self, cell: str, tmp_path: Path) -> None:
        openpyxl = pytest.importorskip("openpyxl")
        workbook = openpyxl.Workbook()
        workbook.active["A1"] = "Image Name"
        workbook.active["XFD1048576" if cell == "ZZZ1" else cell] = 1
        workbook.save(tmp_path / "PH2_dataset.xlsx")
        started = time.process_time()
        refusal(lambda: ph2._read_sheet(tmp_path / "PH2_dataset.xlsx"))
        assert time.process_time() - started < 5

    def test_a_sheet_that_is_a_bomb(self, tmp_path: Path) -> None:
        pytest.importorskip("openpyxl")
        with zipfile.ZipFile(tmp_path / "PH2_dataset.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("xl/worksheets/sheet1.xml", b"<a>" + bytes(20_000_000))
        assert "far larger than PH2's" in refusal(lambda: ph2._read_sheet(tmp_path / "PH2_dataset.xlsx"))

    def test_a_manifest_that_leads_out(self, data: PreparedData, tmp_path: Path) -> None:
        """Masks are read by the id of a row."""
        shutil.copytree(data.path, tmp_path / "data")
        manifest = tmp_path / "data" / "manifest.csv"
        rows = list(csv.reader(manifest.read_text().splitlines()))
        rows[1][0] = "../../mine"
        with manifest.open("w", newline="") as stream:
            csv.writer(stream).writerows(rows)
        assert "manifest.csv" in refusal(lambda: PreparedData.open(tmp_path / "data").rows)
