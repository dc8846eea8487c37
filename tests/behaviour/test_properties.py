"""What holds for any input: readers give a result or one line, numbers obey the relations between them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from bad_images import CHANGES, saved, whole_images
from doors import check_reason
from masks import decode_mask
from mbdcnn.artifacts.manifest import read_manifest
from mbdcnn.config import Config, load_config, save_config
from mbdcnn.data import crops, read_raw
from mbdcnn.data.download.isic_archive import read_ids
from mbdcnn.data.images.decoding import Decoded, decode, image_size
from mbdcnn.data.readers import ph2
from mbdcnn.data.readers.isic2017 import read_labels
from mbdcnn.data.readers.records import Record, check_records
from mbdcnn.errors import UserError
from mbdcnn.metrics.classes import mean_auc
from mbdcnn.metrics.masks import mask_metrics

CLASSES = ("nevus", "melanoma", "seborrheic_keratosis")
few = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
STARTS = (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"GIF89a", b"BM")
masks = array_shapes(min_dims=2, max_dims=2, max_side=12).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)


def result_or_line(call: Callable[[], object]) -> object:
    try:
        return call()
    except UserError as error:
        check_reason(str(error))
        return None


@pytest.mark.filterwarnings("ignore:::PIL")
@given(st.sampled_from(sorted(whole_images())), st.sampled_from(CHANGES), st.integers(0, 2**32 - 1))
def test_readers_of_images_agree_or_say_why(kind: str, change: Callable, seed: int) -> None:
    content = change(whole_images()[kind], np.random.default_rng(seed))
    image = result_or_line(lambda: decode(content))
    if image is not None:
        assert decode(content).tobytes() == image.tobytes()
        assert result_or_line(lambda: image_size(content)) is not None
        mask = result_or_line(lambda: decode_mask(content))
        assert mask is None or mask.shape == image.size[::-1]


@pytest.mark.filterwarnings("ignore:::PIL")
@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"GIF89a", b"BM"])
)
def test_noise_is_no_image(noise: bytes, start: bytes) -> None:
    for read in (decode, decode_mask, image_size):
        result_or_line(lambda read=read: read(start + noise))


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3))),
    st.sampled_from(["PNG", "BMP", "TIFF"]),
)
def test_lossless_formats_keep_any_image(pixels: np.ndarray, kind: str) -> None:
    np.testing.assert_array_equal(np.asarray(decode(saved(Image.fromarray(pixels), kind))), pixels)


cells = st.text(st.characters(codec="utf-8"), max_size=12)
lines = st.lists(st.lists(cells, max_size=6).map(",".join), max_size=6).map("\n".join)
READERS: dict[str, Callable[[Path], object]] = {
    "image,mask,label,split,id\n": lambda file: read_raw(file, CLASSES),
    "image_id,melanoma,seborrheic_keratosis\n": lambda file: read_labels(file, CLASSES, ["a"]),
    "isic_id,diagnosis\n": read_ids,
    "|| IMD003 ||  || 0 ||\n": ph2._read_text,
    "id,split,label,source,width,height,patient,has_mask,pixels,views,training_row,evaluation_row\n": read_manifest,
}


@few
@given(st.sampled_from(sorted(READERS)), lines, st.booleans())
@example("image,mask,label,split,id\n", 'a.png,,nevus,test,"', True)
@example("image,mask,label,split,id\n", "~nobody-at-all/a.png,,nevus,test,a", True)
def test_readers_of_tables_give_rows_or_a_line(tmp_path: Path, header: str, text: str, headed: bool) -> None:
    file = tmp_path / "a.csv"
    file.write_text(header * headed + text, encoding="utf-8")
    result_or_line(lambda: READERS[header](file))


@given(st.text(max_size=30))
def test_ids_that_pass_can_name_files(name: str) -> None:
    try:
        check_records([Record(name, Path("a.png"), None, None, "test")], Path("a"))
    except UserError:
        return
    assert name.strip(" .")
    assert Path("folder", f"{name}.png").parent == Path("folder")
    assert not set(name) & set("\n\r\t\0\x1b")


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 2000))
def test_limited_sizes(width: int, height: int, longest: int) -> None:
    limited = crops.limited_size(width, height, longest)
    assert max(limited) <= max(longest, 0)
    assert limited == (width, height) if max(width, height) <= longest else max(limited) == longest
    assert abs(limited[0] * height - limited[1] * width) <= max(width, height)


@few
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([16, 32]), st.integers(0, 255))
def test_crops_of_one_colour_have_it(width: int, height: int, side: int, value: int) -> None:
    image = Image.new("RGB", (width, height), (value, 0, 255 - value))
    boxes, places = crops.unique_boxes(crops.view_boxes(width, height, (4, 2.5, 1)))
    assert len(set(boxes)) == len(boxes)
    assert max(places) == len(boxes) - 1
    for view in crops.views_of_image(Decoded.whole(image), boxes, side):
        assert view.shape == (side, side, 3)
        assert (view == (value, 0, 255 - value)).all()


@given(masks)
def test_relations_between_mask_metrics(pair: tuple[np.ndarray, np.ndarray]) -> None:
    prediction, truth = pair
    scores, swapped, negative = (
        mask_metrics(prediction, truth),
        mask_metrics(truth, prediction),
        mask_metrics(~prediction, ~truth),
    )
    counts = [scores[f"{name}s"] for name in ("true_positive", "false_positive", "false_negative", "true_negative")]
    assert sum(counts) == truth.size
    assert min(counts) >= 0
    for name in ("jaccard", "dice", "accuracy", "boundary_distance"):
        assert scores[name] == pytest.approx(swapped[name], nan_ok=True)
    assert scores["sensitivity"] == pytest.approx(negative["specificity"], nan_ok=True)
    jaccard = scores["jaccard"]
    assert scores["dice"] == pytest.approx(2 * jaccard / (1 + jaccard), nan_ok=True)
    assert math.isnan(jaccard) == (not (prediction | truth).any())
    assert (jaccard == 1) == (bool(truth.any()) and np.array_equal(prediction, truth))
    assert math.isnan(jaccard) or 0 <= scores["boundary_distance_fraction"] <= 1


@few
@given(st.integers(2, 30), st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 3]))
def test_relations_between_areas(images: int, seed: int, decimals: int) -> None:
    """AUC sees ranks alone; turning the score round mirrors it; a monotone change leaves it."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, images)
    assume(0 < labels.sum() < images)
    score = rng.random(images).round(decimals)

    def auc(values: np.ndarray) -> float:
        return mean_auc(np.stack([1 - values, values], 1), labels)

    assert 0 <= auc(score) <= 1
    assert auc(score) == pytest.approx(1 - auc(1 - score), abs=1e-6)
    assert auc(score) == pytest.approx(auc(score**3 / 2), abs=1e-6)
    assert auc(labels.astype(float)) == 1


settings_anyone_writes = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.sampled_from(
                    ["seed", "data", "coarse", "network", "training", "classes", "views", "base", "scales"]
                ),
                st.text(max_size=5),
                st.integers(),
                st.none(),
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)


@few
@given(settings_anyone_writes)
@example({"coarse": {1: 2}})
@example({None: {"a": 1}})
@example({"data": {"views": {"fractions": [float("nan")]}}})
def test_any_yaml_is_a_configuration_or_a_line(tmp_path: Path, content: object) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(content))
    config = result_or_line(lambda: load_config(tmp_path / "a.yaml"))
    assert config is None or isinstance(config, Config)


@few
@given(st.text(max_size=60))
@example("a: &a [*a]")
@example("? {a: 1}\n: 2")
@example("%YAML 9.9\n---\na")
@example("!!timestamp 2020-99-99")
@example("{<<: 1}")
def test_any_text_is_a_configuration_or_a_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
    result_or_line(lambda: load_config(tmp_path / "a.yaml"))
    result_or_line(lambda: load_config(None, [f"seed={text}"]))
    result_or_line(lambda: load_config(None, [text]))


@pytest.mark.slow
@few
@given(
    st.integers(0, 2**32 - 1),
    st.floats(1e-6, 1, exclude_min=True),
    st.integers(1, 64).map(lambda n: 16 * n),
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1), min_size=2, unique=True),
)
def test_any_configuration_survives_saving(
    tmp_path: Path, seed: int, rate: float, side: int, classes: list[str]
) -> None:
    plain = Config()
    config = plain.model_copy(
        update={
            "seed": seed,
            "classes": tuple(classes),
            "data": plain.data.model_copy(update={"image_size": side, "scales": (side,)}),
            "enhanced": plain.enhanced.model_copy(
                update={"training": plain.enhanced.training.model_copy(update={"learning_rate": rate})}
            ),
        }
    )
    save_config(config, tmp_path / "config.yaml")
    # Names of classes that are not among these follow them when it is read.
    read = load_config(tmp_path)
    assert (read.seed, read.classes, read.data.image_size) == (seed, tuple(classes), side)
    assert read.enhanced == config.enhanced
    save_config(read, tmp_path / "config.yaml")
    assert load_config(tmp_path) == read
