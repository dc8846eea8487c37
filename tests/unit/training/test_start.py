"""Where networks start, and what is known of the images behind their weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mbdcnn.artifacts import Bundle, PreparedData, Run
from mbdcnn.artifacts.builtin import open_model
from mbdcnn.artifacts.manifest import Row
from mbdcnn.artifacts.seen import NOTHING, Seen, write_seen
from mbdcnn.bundling.imports import import_run
from mbdcnn.config import Config, load_config, save_config
from mbdcnn.errors import UserError
from mbdcnn.models import build_network
from mbdcnn.models.weights import save_weights
from mbdcnn.training.start import Start, check_start, find_start, initialise

STAGES = ("coarse", "classifier", "enhanced")
RECIPES = Path(__file__).parents[3] / "experiments"
NAMES = json.loads((Path(__file__).parents[2] / "parity" / "reference_state_dicts.json").read_text())
SMALL = [
    *(f"{stage}.network.width=0.1" for stage in STAGES),
    *(f"{stage}.training.small_side=null" for stage in STAGES),
    *(f"{stage}.network.decoder_channels=8" for stage in ("coarse", "enhanced")),
    "data.image_size=32",
    "data.segmentation_size=48",
    "data.scales=[32, 48]",
    "runtime.device=cpu",
]
COMPACT = load_config("compact", SMALL)
Tensors = dict[str, torch.Tensor]


def own(stage: str) -> Tensors:
    return dict(build_network(stage, COMPACT).state_dict())


def public(head: str, classes: int, *marks: str) -> Tensors:
    return {head: torch.rand(classes, 4), **{mark: torch.rand(4, 3, 1, 1) for mark in marks}}


KINDS: dict[str, tuple[Tensors, bool]] = {
    **{f"own {stage}": (own(stage), True) for stage in STAGES},
    **{f"authors' {stage}": ({name: torch.rand(2) for name in NAMES[stage]}, True) for stage in STAGES},
    "Xception": (public("fc.weight", 1000, "block11.rep.1.conv1.weight"), False),
    "Xception of others": (public("fc.weight", 7, "block11.rep.1.conv1.weight"), True),
    "Xception of others, as Cadene": (public("last_linear.weight", 3, "block11.rep.1.conv1.weight"), True),
    "DeepLabV3+": (public("cls_conv.weight", 21, "backbone.conv1.weight"), False),
    "DeepLabV3+ of others": (public("cls_conv.weight", 3, "backbone.conv1.weight"), True),
    "MobileNetV2": (public("classifier.1.weight", 1000, "features.1.conv.0.0.weight"), False),
    "MobileNetV2 of others": (public("classifier.1.weight", 2, "features.1.conv.0.0.weight"), True),
    "DeepLabV3": (public("logits.weight", 21, "features.1.conv.0.0.weight", "concat_projection.0.weight"), False),
    "DeepLabV3 of others": (
        public("logits.weight", 2, "features.1.conv.0.0.weight", "concat_projection.0.weight"),
        True,
    ),
}


def config_from(stage: str, place: Path | str, *more: str) -> Config:
    return load_config("compact", [*SMALL, f"{stage}.initial_weights={place}", *more])


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_weights_trained_on_lesions_are_told_from_public_ones(tmp_path: Path, kind: str, stage: str) -> None:
    tensors, on_lesions = KINDS[kind]
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "w.safetensors")
    start = find_start(stage, config_from(stage, tmp_path / "w.safetensors"))
    assert start is not None
    assert (start.unknown is not None) is on_lesions
    assert start.training == start.selection == NOTHING


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("kind", "classes"), [("MobileNetV2", 1000), ("MobileNetV2", 7), ("own", 3)])
def test_what_is_known_of_a_file_goes_on_through_a_run(tmp_path: Path, stage: str, kind: str, classes: int) -> None:
    tensors = own(stage)
    if kind == "MobileNetV2":
        trunk = {name: tensor for name, tensor in tensors.items() if name.startswith("encoder.")}
        tensors = {name.removeprefix("encoder."): tensor for name, tensor in trunk.items()}
        tensors["classifier.1.weight"] = torch.rand(classes, 4)
    file = tmp_path / "w.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    run = import_run(file, tmp_path / "run", COMPACT, stage).run
    on_lesions = classes != 1000
    for place in (file, run.path):
        config = config_from(stage, place, "enhanced.guidance_start=random")
        start = find_start(stage, config)
        assert start is not None
        assert (start.unknown is not None) is on_lesions
        facts = initialise(build_network(stage, config), config, start, None, torch.Tensor)
        assert ("imported" in facts) is on_lesions


def rows() -> list[Row]:
    splits = ("train", "train", "validation", "test")
    return [Row(f"i{n}", split, 0, "", 9, 9, None, True, f"p{n}", (0,), 0, None) for n, split in enumerate(splits)]


def run_trained_on(folder: Path, seen: Seen, **facts: object) -> Run:
    with Run.writing(folder, {"stage": "coarse"}, {"data": "x"}) as draft:
        save_weights(draft.path / "best.safetensors", build_network("coarse", COMPACT))
        save_config(COMPACT, draft.path / "config.yaml")
        write_seen(draft.path, {"training": seen, "selection": NOTHING})
        draft.facts |= facts
    return Run.open(folder)


class Prepared:
    """Rows of prepared data."""

    path = Path("data")

    def __init__(self) -> None:
        self.rows = rows()

    split = PreparedData.split


def refusal(config: Config, *, allow_overlap: bool = False) -> str:
    with pytest.raises(UserError) as error:
        check_start("coarse", Prepared(), config, allow_overlap=allow_overlap)  # type: ignore[arg-type]
    return str(error.value)


def test_the_file_of_a_run_or_bundle_is_known_as_that(tmp_path: Path, bundle: Bundle) -> None:
    run = run_trained_on(tmp_path / "run", Seen.of(rows()[:2]))
    start = find_start("coarse", config_from("coarse", run.weights))
    assert start == Start(run.weights, run.seen("training"))
    of_bundle = find_start("coarse", config_from("coarse", bundle.weights("coarse")))
    assert of_bundle == Start(bundle.weights("coarse"), bundle.seen("training"), bundle.seen("selection"))
    assert of_bundle.training.ids
    foreign = run.path / "foreign.safetensors"
    save_weights(foreign, build_network("coarse", COMPACT))
    start = find_start("coarse", config_from("coarse", foreign))
    assert start == Start(foreign, unknown=start.unknown if start else None)
    assert start.unknown


@pytest.mark.parametrize("known", [2, 3])
@pytest.mark.parametrize("renamed", [False, True])
def test_starting_weights_that_know_images_of_another_split_are_refused(
    tmp_path: Path, known: int, renamed: bool
) -> None:
    image = replace(rows()[known], id="another name") if renamed else rows()[known]
    run = run_trained_on(tmp_path / "run", Seen.of([*rows()[:2], image]))
    config = config_from("coarse", run.path, "coarse.folds=0")
    told = refusal(config)
    assert f"trained on 1 of the validation and test images, such as i{known}" in told
    assert "--allow-overlap" in told
    check_start("coarse", Prepared(), config, allow_overlap=True)  # type: ignore[arg-type]


def test_starting_weights_that_know_training_images_leave_nothing_to_hold_out(tmp_path: Path) -> None:
    for name, seen, facts in (("known", Seen.of(rows()[:1]), {}), ("unknown", NOTHING, {"imported": "theirs"})):
        run = run_trained_on(tmp_path / name, seen, **facts)
        told = refusal(config_from("coarse", run.path), allow_overlap=True)
        assert "trained on lesions, perhaps these" in told
        assert told.endswith("give --set coarse.folds=0, or other weights")
        config = config_from("coarse", run.path, "coarse.folds=0")
        check_start("coarse", Prepared(), config, allow_overlap=False)  # type: ignore[arg-type]


def started(tmp_path: Path, stage: str, how: str) -> torch.Tensor:
    """Give the layer that mixes in the map, of an enhanced-SN that starts from a file of another network."""
    file = tmp_path / "w.safetensors"
    save_weights(file, build_network(stage, COMPACT))
    config = config_from("enhanced", file, f"enhanced.guidance_start={how}")
    network = build_network("enhanced", config)
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    initialise(network, config, Start(file), None, lambda: images)
    return network.guidance[0].weight[:, :, 0, 0].detach()


def test_how_enhanced_starts_holds_also_for_weights_that_are_named(tmp_path: Path) -> None:
    weight = started(tmp_path, "coarse", "identity")
    torch.testing.assert_close(weight, torch.eye(*weight.shape))
    mixed = started(tmp_path, "coarse", "mixed")
    torch.testing.assert_close(mixed[:, :-1], weight[:, :-1])
    assert mixed[:, -1].abs().max() > 0 == weight[:, -1].abs().max()
    assert started(tmp_path, "coarse", "random").std() > 0.01
    with pytest.raises(UserError, match=r"holds the layer .* give --set enhanced\.guidance_start=random"):
        started(tmp_path, "enhanced", "identity")
    with pytest.raises(UserError, match="which the start 'mixed' would undo"):
        started(tmp_path, "enhanced", "mixed")
    assert started(tmp_path, "enhanced", "random").std() > 0.01


def test_the_configuration_that_trains_the_shipped_model_further_begins_with_its_weights() -> None:
    config = load_config("finetune")
    assert config.enhanced.guidance_start == "random"
    for stage in STAGES:
        start = find_start(stage, config)
        facts = initialise(build_network(stage, config), config, start, None, torch.Tensor)
        assert facts["starting_weights"]["initial"] == [], stage
    shipped = open_model("bundled").config
    assert config.data == shipped.data.model_copy(update={"segmentation_size": config.data.segmentation_size})
    assert config.classifier.network == shipped.classifier.network


def test_the_shipped_models_recipe_is_what_it_was_trained_with() -> None:
    recipe, shipped = load_config(RECIPES / "shipped.yaml"), open_model("bundled").config
    assert (recipe.data, recipe.cam, recipe.ensemble) == (shipped.data, shipped.cam, shipped.ensemble)
    assert (recipe.classifier, recipe.calibration) == (shipped.classifier, shipped.calibration)
    assert (recipe.coarse.network, recipe.enhanced.network) == (shipped.coarse.network, shipped.enhanced.network)
    for stage in ("coarse", "enhanced"):
        assert find_start(stage, recipe) is not None, stage
