"""Exported networks give what PyTorch gives, in every runtime and in programs without this package."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

from bad_images import whole_images
from mbdcnn.artifacts import Bundle
from mbdcnn.cli import main
from mbdcnn.config import Config, load_config, parse, save_config
from mbdcnn.data.crops import OVERSAMPLING, least_side
from mbdcnn.data.images.decoding import decode, decode_at_least
from mbdcnn.data.synthetic import draw
from mbdcnn.errors import UserError
from mbdcnn.inference import export, graphs, runtimes, tracing
from mbdcnn.inference.export import export_bundle
from mbdcnn.inference.predictor import Predictor
from mbdcnn.inference.probabilities import softmax
from mbdcnn.inference.protocol import inputs_of_image, run_protocol
from mbdcnn.inference.runtimes import OpenVinoCore, TorchCore, load_core
from mbdcnn.models import MBDCNN
from mbdcnn.models.weights import save_weights

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[3] / "examples" / "onnx_only.py"
DECODER = {"decoder_channels": 8, "low_level_channels": 4, "initialisation": "torch"}
TINY = {
    "paper": {
        "cam": "reference",
        "segmentation": {"width": 0.03, "depth": 1, **DECODER},
        "classification": {"width": 0.03, "depth": 1},
    },
    "compact": {
        "cam": "relu",
        "segmentation": {
            **{"backbone": "mobilenet_v2", "width": 0.1, "depth": 1, "dilations": (), "separable_decoder": True},
            **{"pixel_mean": 0.5, "pixel_std": 0.25, **DECODER},
        },
        "classification": {"backbone": "mobilenet_v2", "width": 0.1, "depth": 1, "pixel_mean": 0.5},
    },
    "keras": {
        "cam": "relu",
        "segmentation": {"backbone": "mobilenet_v2", "width": 0.1, "depth": 1, "dilations": (2,), **DECODER},
        "classification": {"backbone": "xception_keras", "width": 0.05, "depth": 1},
    },
    "lite": {
        "cam": "relu",
        "segmentation": {
            **{"backbone": "efficientnet_lite1", "width": 0.1, "depth": 1, "dilations": (), "separable_decoder": True},
            **DECODER,
        },
        "classification": {"backbone": "efficientnet_lite0", "width": 0.1, "depth": 1},
    },
}
CALIBRATION = {"temperature": 2.0, "operating_points": [], "images": 5, "source": "generated"}


def tiny_config(variant: str) -> Config:
    settings = TINY[variant]
    segmentation = {"network": settings["segmentation"]}
    data = {"image_size": 32, "scales": [32, 48], "views": {"fractions": [3]}}
    networks = {"coarse": segmentation, "enhanced": segmentation, "classifier": {"network": settings["classification"]}}
    return parse(Config, {"cam": settings["cam"], "data": data, **networks}, variant)


def random_model(config: Config, *, negative: bool = False) -> MBDCNN:
    """Networks with random weights and batch norms; `negative` makes every activation map negative."""
    torch.manual_seed(3)
    model = MBDCNN(config)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, 0, 0.2)
            nn.init.uniform_(norm.running_var, 0.2, 1)
            nn.init.uniform_(norm.weight, 0.7, 2)
            nn.init.normal_(norm.bias, 0, 0.3)
    nn.init.normal_(model.classifier.head.weight, 0, 0.2)
    if negative:
        model.classifier.head.weight.data.abs_().neg_()
    return model.eval()


def write(path: Path, config: Config, model: MBDCNN) -> Bundle:
    with Bundle.writing(path, {}, {}) as draft:
        for stage in ("coarse", "classifier", "enhanced"):
            save_weights(draft.path / f"{stage}.safetensors", getattr(model, stage))
        save_config(config, draft.path / "config.yaml")
        (draft.path / "ids.json").write_text("{}")
        draft.facts["calibration"] = {"fast": CALIBRATION, "paper": CALIBRATION}
    return Bundle.open(path)


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MBDCNN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module", params=TINY)
def tiny_bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    config = tiny_config(request.param)
    return write(tmp_path_factory.mktemp("bundles") / request.param, config, random_model(config))


@pytest.fixture(scope="module")
def compact(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    config = tiny_config("compact")
    return write(tmp_path_factory.mktemp("bundles") / "compact", config, random_model(config))


@pytest.fixture(scope="module")
def lesion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows, columns = np.mgrid[:90, :120]
    spot = np.exp(-((rows - 40) ** 2 + (columns - 70) ** 2) / 500)[..., None]
    pixels = 210 - spot * (90, 140, 150) + np.random.default_rng(0).normal(0, 6, (90, 120, 3))
    file = tmp_path_factory.mktemp("images") / "lesion.png"
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
    return file


@pytest.mark.parametrize("protocol", ["fast", "paper"])
@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_every_runtime_gives_what_torch_gives(tiny_bundle: Bundle, lesion: Path, runtime, protocol) -> None:
    with Image.open(lesion) as image:
        inputs = [inputs_of_image(image, tiny_bundle.config.data, protocol)]
    (torch_outcome,) = run_protocol(load_core(tiny_bundle, "torch", "cpu"), inputs, protocol)
    (outcome,) = run_protocol(load_core(tiny_bundle, runtime, "auto"), inputs, protocol)
    # Values that hardly vary would agree whatever was computed.
    assert torch_outcome.lesion_logits().std() > 0.01
    assert torch_outcome.activation_map.std() > 0.01
    assert np.array_equal(outcome.coarse_mask, torch_outcome.coarse_mask)
    for name in ("view_logits", "activation_map", "embedding"):
        assert np.allclose(getattr(outcome, name), getattr(torch_outcome, name), rtol=0, atol=1e-4), name
    assert np.allclose(outcome.lesion_logits(), torch_outcome.lesion_logits(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("protocol", ["fast", "paper"])
@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_every_runtime_gives_the_same_from_a_given_mask_and_from_prompts(
    compact: Bundle, lesion: Path, runtime, protocol
) -> None:
    mask = np.zeros((90, 120), bool)
    mask[20:60, 50:95] = True
    for said in ({"coarse_mask": mask}, {"coarse_mask": mask, "points": [(45, 40, 1)]}):
        expected = Predictor.load(compact.path, device="cpu").predict(lesion, protocol, **said)
        prediction = Predictor.load(compact.path, runtime=runtime).predict(lesion, protocol, **said)
        assert np.array_equal(prediction.coarse_mask, expected.coarse_mask)
        assert prediction.probabilities == pytest.approx(expected.probabilities, abs=1e-4)
        assert np.allclose(prediction.mask_probability, expected.mask_probability, rtol=0, atol=1e-4)
    assert not np.array_equal(expected.coarse_mask, mask)


@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_a_graph_that_takes_the_mask_gives_what_the_package_gives(
    compact: Bundle, lesion: Path, tmp_path: Path, form: export.Format
) -> None:
    mask = np.zeros((90, 120), bool)
    mask[20:60, 50:95] = True
    expected = Predictor.load(compact.path, device="cpu").predict(lesion, coarse_mask=mask)
    exported = export_bundle(compact, tmp_path / "graph", form, given_mask=True)
    facts = exported.provenance.facts
    assert facts["mask_input"] == {"name": "coarse_mask", "shape": ["n", 1, 32, 32]}
    assert facts["outputs"] == ["class_logits", "activation_map", "mask_logits", "embedding"]
    with Image.open(lesion) as opened:
        pixels = inputs_of_image(opened, compact.config.data, "fast").patches
    image = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255
    small = np.asarray(Image.fromarray(mask).resize((32, 32), Image.Resampling.NEAREST), np.float32)[None, None]
    file = exported.path / facts["model"]
    if form == "onnx":
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        logits, maps, *_ = session.run(facts["outputs"], {"image": image, "coarse_mask": small})
    else:
        program = torch.export.load(file).module()
        logits, maps, *_ = (each.detach().numpy() for each in program(torch.from_numpy(image), torch.from_numpy(small)))
    assert [*softmax(logits / 2.0)[0]] == pytest.approx([*expected.probabilities.values()], abs=1e-4)
    assert np.allclose(maps[0, 0], expected.cam, atol=1e-4)
    # Both kinds are up to date by their own identity.
    with pytest.raises(UserError, match="overwrite"):
        export_bundle(compact, tmp_path / "graph", form, overwrite=False)
    assert export_bundle(compact, tmp_path / "graph", form, given_mask=True, overwrite=False).path == exported.path


@pytest.mark.parametrize("variant", TINY)
@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_maps_without_a_positive_value_are_not_divided(tmp_path: Path, variant, runtime) -> None:
    config = tiny_config(variant)
    bundle = write(tmp_path / "bundle", config, random_model(config, negative=True))
    pixels = np.random.default_rng(1).integers(0, 256, (2, 48, 64, 3), np.uint8)
    masks = np.ones((2, 48, 64), np.bool_)
    expected = load_core(bundle, "torch", "cpu").classify(pixels, masks).activation_maps
    maps = load_core(bundle, runtime, "cpu").classify(pixels, masks).activation_maps
    assert expected.shape == (2, 1, 3, 4)
    assert expected.max() <= 0
    assert (expected.min() < -0.1) == (variant == "paper")
    assert np.allclose(maps, expected, rtol=0, atol=1e-4)


def test_bfloat16_is_rougher_and_leaves_nothing_rough_behind(compact: Bundle, lesion: Path, monkeypatch) -> None:
    monkeypatch.setattr("mbdcnn.inference.mixed.FEWEST_CHANNELS", 8)
    try:
        rough = Predictor.load(compact.path, runtime="openvino-bf16").predict(lesion)
    except UserError as error:
        pytest.skip(str(error))
    exact = Predictor.load(compact.path, runtime="openvino").predict(lesion)
    expected = Predictor.load(compact.path).predict(lesion)
    assert 1e-4 < np.abs(rough.mask_probability - expected.mask_probability).max() < 0.1
    assert np.array_equal(rough.coarse_mask, exact.coarse_mask)
    assert np.allclose(exact.mask_probability, expected.mask_probability, rtol=0, atol=1e-5)


def test_graphs_are_exported_once_for_each_model(compact: Bundle, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MBDCNN_CACHE", str(tmp_path / "cache"))
    first = graphs.cached_graphs(compact)
    assert sorted(file.stem for file in first.glob("*.onnx")) == sorted(graphs.GRAPHS)
    other = write(tmp_path / "other", compact.config, random_model(compact.config, negative=True))
    assert graphs.cached_graphs(other) != first
    monkeypatch.setattr(tracing, "write_graphs", lambda bundle, folder: pytest.fail("exported again"))
    assert graphs.cached_graphs(compact) == first


def test_an_export_that_fails_leaves_nothing(compact: Bundle, tmp_path: Path, monkeypatch) -> None:
    def fail(bundle: Bundle, folder: Path) -> None:
        (folder / "coarse.onnx").write_text("half")
        raise RuntimeError("no")

    monkeypatch.setenv("MBDCNN_CACHE", str(tmp_path))
    monkeypatch.setattr(tracing, "write_graphs", fail)
    with pytest.raises(RuntimeError):
        graphs.cached_graphs(compact)
    assert not any((tmp_path / "graphs").iterdir())


def test_two_processes_may_export_at_a_time(compact: Bundle, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MBDCNN_CACHE", str(tmp_path))
    original = tracing.write_graphs

    def overtaken(bundle: Bundle, folder: Path) -> None:
        monkeypatch.setattr(tracing, "write_graphs", original)
        graphs.cached_graphs(bundle)
        original(bundle, folder)

    monkeypatch.setattr(tracing, "write_graphs", overtaken)
    folder = graphs.cached_graphs(compact)
    assert list((tmp_path / "graphs").iterdir()) == [folder]


def test_what_cannot_be_used_is_said_in_one_line(compact: Bundle, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(UserError, match="runtime tensorrt: unknown; give torch, onnx, openvino"):
        load_core(compact, "tensorrt", "cpu")
    with pytest.raises(UserError, match="runs on the CPU, not on cuda:1"):
        load_core(compact, "onnx", "cuda:1")
    for name, package in (("onnx", "onnxruntime"), ("openvino-bf16", "openvino")):
        with monkeypatch.context() as patch:
            patch.setattr(runtimes, "find_spec", lambda name: None)
            with pytest.raises(
                UserError, match=rf"runtime {name}: .*{package}.* not installed .*; pip install .*'{package}>="
            ):
                load_core(compact, name, "cpu")
    monkeypatch.setenv("MBDCNN_CACHE", str(tmp_path / "new"))
    with monkeypatch.context() as patch:
        patch.setattr(tracing, "find_spec", lambda name: None)
        with pytest.raises(UserError, match=r"ONNX: onnx, .* not installed"):
            load_core(compact, "onnx", "cpu")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MBDCNN_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set MBDCNN_CACHE to a folder that can be written"):
        load_core(compact, "onnx", "cpu")


def test_a_graph_that_was_changed_is_made_again(compact: Bundle, tmp_path: Path, monkeypatch) -> None:
    """One that was cut off, and one put there to predict what somebody else wants."""
    monkeypatch.setenv("MBDCNN_CACHE", str(tmp_path))
    folder = graphs.cached_graphs(compact)
    right = {file.name: file.read_bytes() for file in folder.iterdir()}
    for changed in (right["guide.onnx"][:1000], right["coarse.onnx"]):
        (folder / "guide.onnx").write_bytes(changed)
        load_core(compact, "onnx", "cpu")
        assert (folder / "guide.onnx").read_bytes() == right["guide.onnx"]
    for content in ("", "[]", "[" * 100_000):
        (folder / graphs.CHECKSUMS).write_text(content)
        assert graphs.cached_graphs(compact) == folder
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == right


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_graph_that_cannot_be_loaded_is_named(compact: Bundle, tmp_path: Path, monkeypatch, runtime) -> None:
    def write_noise(bundle: Bundle, folder: Path) -> None:
        for name in graphs.GRAPHS:
            (folder / f"{name}.onnx").write_bytes(b"noise" * 100)

    monkeypatch.setenv("MBDCNN_CACHE", str(tmp_path))
    monkeypatch.setattr(tracing, "write_graphs", write_noise)
    with pytest.raises(UserError, match=r"cannot be loaded .*; remove it"):
        load_core(compact, runtime, "cpu")


def test_a_cpu_without_bfloat16_is_told(tmp_path: Path, monkeypatch) -> None:
    openvino = pytest.importorskip("openvino")

    class Core:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32"]

    monkeypatch.setattr(openvino, "Core", Core)
    with pytest.raises(UserError, match="this CPU does not compute in bfloat16"):
        OpenVinoCore(tmp_path, bf16=True)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_cached_model_predicts_without_torch(compact: Bundle, lesion: Path, tmp_path: Path, runtime) -> None:
    graphs.cached_graphs(compact)
    arguments = ["predict", str(lesion), "--model", str(compact.path), "--out", str(tmp_path), "--runtime", runtime]
    program = (
        "import sys\nfrom mbdcnn.cli import main\ntry:\n    main(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "assert not {'torch', 'lightning', 'matplotlib', 'scipy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, timeout=120)
    (entry,) = json.loads((tmp_path / "predictions.json").read_text())
    expected = Predictor.load(compact.path).predict(lesion).to_dict()
    assert entry["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-4)
    assert entry["bounding_box"] == expected["bounding_box"]


def test_the_example_predicts_with_the_exported_graph_alone(compact: Bundle, lesion: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["export", str(compact.path), "--out", str(tmp_path / "exported")])
    mask_file = tmp_path / "mask.png"
    program = (
        "import runpy, sys\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
        "assert not {'torch', 'mbdcnn'} & sys.modules.keys()"
    )
    program = f"import sys\nsys.argv = sys.argv[1:]\n{program}"
    arguments = [str(EXAMPLE), str(tmp_path / "exported"), str(lesion), str(mask_file)]
    done = subprocess.run([sys.executable, "-c", program, *arguments], check=True, timeout=120, capture_output=True)
    expected = Predictor.load(compact.path).predict(lesion)
    assert json.loads(done.stdout) == pytest.approx(expected.probabilities, abs=1e-4)
    with Image.open(mask_file) as mask:
        agreement = (np.asarray(mask) == expected.mask).mean()
    assert 0.02 < expected.area_fraction < 0.98
    # Pillow's cubic is a little softer than PyTorch's.
    assert agreement > 0.99


def _read_by_the_example(file: Path) -> Image.Image:
    image: Image.Image = runpy.run_path(str(EXAMPLE))["read"](file)[0]
    return image


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("kind", [kind for kind in whole_images() if kind.split()[0] in {"jpg", "png", "tif", "webp"}])
def test_the_example_reads_as_the_package_does_or_refuses(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(whole_images()[kind])
    with Image.open(file) as opened:
        left_out = (
            opened.mode not in {"L", "P", "RGB"} or opened.has_transparency_data or "profile that is none" in kind
        )
    if left_out:
        with pytest.raises(SystemExit, match="mbdcnn predict"):
            _read_by_the_example(file)
        return
    image = _read_by_the_example(file)
    np.testing.assert_allclose(np.asarray(image, int), np.asarray(decode(file), int), atol=2)


@pytest.mark.parametrize("size", [(1504, 1129), (1022, 767), (3001, 2003)])
@pytest.mark.parametrize("orientation", [0, 1, 6])
@pytest.mark.parametrize("kind", ["jpg", "tif", "png"])
def test_the_example_makes_of_large_images_what_the_package_makes(
    size: tuple[int, int], orientation: int, kind: str, tmp_path: Path
) -> None:
    photo, exif = draw(np.random.default_rng(0), "melanoma", size)[0], Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"x.{kind}"
    photo.save(file, exif=exif, **({"quality": 80} if kind == "jpg" else {}))
    settings = load_config("compact").data
    example = runpy.run_path(str(EXAMPLE))
    image, given = example["read"](file, least_side(settings))
    pixels = example["squash"](image, given, settings.image_size, OVERSAMPLING)
    expected = inputs_of_image(decode_at_least(file, least_side(settings)), settings, "fast")
    assert given == (expected.width, expected.height)
    np.testing.assert_allclose(pixels * 255, np.moveaxis(expected.patches[:1], -1, 1), atol=1e-3)


def test_a_program_of_torch_runs_without_this_package(compact: Bundle, tmp_path: Path) -> None:
    exported = export_bundle(compact, tmp_path / "exported", "torch")
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "images.npy", images)
    program = (
        "import sys, numpy, torch\n"
        "network = torch.export.load(sys.argv[1] + '/exported/model.pt2').module()\n"
        "outputs = network(torch.from_numpy(numpy.load(sys.argv[1] + '/images.npy')))\n"
        "numpy.savez(sys.argv[1] + '/outputs.npz', *[output.detach() for output in outputs])\n"
        "assert 'mbdcnn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=120)
    from mbdcnn.inference.networks import load_model

    with torch.inference_mode():
        expected = load_model(compact)(images)
    assert exported.provenance.facts["outputs"] == list(export.OUTPUTS)
    with np.load(tmp_path / "outputs.npz") as outputs:
        for output, wanted in zip(outputs.values(), expected, strict=True):
            assert np.allclose(output, wanted, rtol=0, atol=1e-4)


def test_the_whole_graph_takes_any_number_of_images(tiny_bundle: Bundle, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from mbdcnn.inference.networks import load_model

    exported = export_bundle(tiny_bundle, tmp_path / "exported", "onnx")
    facts = exported.provenance.facts
    session = onnxruntime.InferenceSession(exported.path / facts["model"])
    model = load_model(tiny_bundle)
    for count in (1, 5):
        images = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(count))
        outputs = session.run(facts["outputs"], {facts["input"]["name"]: images.numpy()})
        with torch.inference_mode():
            expected = model(images)
        for output, wanted in zip(outputs, expected, strict=True):
            assert np.allclose(output, wanted, rtol=0, atol=1e-4)


def test_an_export_is_made_again_only_when_it_would_differ(compact: Bundle, tmp_path: Path, monkeypatch) -> None:
    first = export_bundle(compact, tmp_path / "exported", "onnx")
    with monkeypatch.context() as patch:
        patch.setattr(export, "load_model", lambda bundle: pytest.fail("exported again"))
        assert export_bundle(compact, tmp_path / "exported", "onnx").provenance == first.provenance
    monkeypatch.setattr(export, "VERSION", graphs.VERSION + 1)
    assert export_bundle(compact, tmp_path / "exported", "onnx").provenance.identity != first.provenance.identity
    assert {file.name for file in first.path.iterdir()} == {"model.onnx", "model.json"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("")
    with pytest.raises(UserError, match="is not a Export folder"):
        export_bundle(compact, tmp_path / "mine", "onnx")


def disturbed(network: nn.Module) -> nn.Module:
    """Move one weight of the last layer, as a wrong operator would move what comes of it."""
    biases = {name: parameter for name, parameter in network.named_parameters() if name.endswith("head.bias")}
    biases.get("model.classifier.head.bias", next(reversed(biases.values()))).data[0] += 0.1
    return network


@pytest.mark.parametrize("wrong", [*graphs.GRAPHS, "model"])
def test_a_graph_that_gives_other_values_than_torch_is_not_kept(
    compact: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    original = torch.onnx.export

    def export_wrongly(network: nn.Module, examples: object, file: Path, **options: object) -> None:
        original(disturbed(network) if file.stem == wrong else network, examples, file, **options)

    monkeypatch.setenv("MBDCNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.onnx, "export", export_wrongly)
    make = (export_bundle, tmp_path / "exported", "onnx") if wrong == "model" else (load_core, "onnx", "cpu")
    with pytest.raises(UserError, match=rf"^{wrong}\.onnx: the exported graph does not give what torch gives"):
        make[0](compact, *make[1:])
    assert not (tmp_path / "exported").exists()
    assert not list((tmp_path / "cache").rglob("*.onnx"))
    assert isinstance(load_core(compact, "torch", "cpu"), TorchCore)


def test_a_program_that_gives_other_values_than_torch_is_not_kept(compact: Bundle, tmp_path: Path, monkeypatch) -> None:
    original = torch.export.export
    monkeypatch.setattr(
        torch.export, "export", lambda model, *given, **options: original(disturbed(model), *given, **options)
    )
    with pytest.raises(UserError, match=r"^model\.pt2: the exported graph does not give what torch gives"):
        export_bundle(compact, tmp_path / "exported", "torch")
    assert not (tmp_path / "exported").exists()


def test_what_counts_as_alike() -> None:
    small, large = np.full((2, 3), 0.5), np.full((2, 3), -20.0)
    assert tracing.agree([small, large], [small + 0.009, large + 0.19])
    assert not tracing.agree([small, large], [small - 0.011, large])
    assert not tracing.agree([small, large], [small, large + 0.21])
    assert not tracing.agree([small], [np.full((2, 3), np.nan)])
    assert not tracing.agree([small], [small[:1]])
    assert not tracing.agree([small, large], [small])
