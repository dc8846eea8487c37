from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mbdcnn.artifacts import PreparedData
from mbdcnn.data.prepare import prepare
from mbdcnn.errors import UserError
from mbdcnn.evaluation.evaluate import evaluate_predictions
from mbdcnn.evaluation.files import open_predictions
from mbdcnn.evaluation.report.wording import score_lines

CLASSES = ("nevus", "melanoma", "seborrheic_keratosis")


def write_masks(data: PreparedData, folder: Path, *endings: str) -> Path:
    """Write the truth as predictions, with one ending after the other."""
    folder.mkdir()
    for number, row in enumerate(data.split("test")):
        Image.fromarray(data.truth(row)).save(folder / f"{row.id}{endings[number % len(endings)]}.png")
    return folder


def write_table(data: PreparedData, file: Path, header: str = "image_id,nevus,melanoma,seborrheic_keratosis") -> Path:
    """Write certain and right probabilities."""
    lines = [header]
    for row in data.split("test"):
        lines.append(",".join([row.id, *(str(float(row.label == index)) for index in range(3))]))
    file.write_text("\n".join(lines) + "\n")
    return file


def score(path: Path, data: PreparedData, out: Path, **more: object) -> dict[str, object]:
    return evaluate_predictions(path, data, "test", out, bootstrap_samples=5, **more).metrics


def test_perfect_masks_and_probabilities_score_perfectly(data, tmp_path: Path) -> None:
    folder = write_masks(data, tmp_path / "masks", "", "_segmentation", "_mask")
    write_table(data, folder / "classes.csv")
    metrics = score(folder, data, tmp_path / "report")
    assert metrics["segmentation"]["enhanced"]["jaccard"]["value"] == 1
    assert metrics["segmentation"]["enhanced"]["boundary_distance"]["value"] == 0
    assert metrics["segmentation"]["coarse"] is None
    assert metrics["classification"]["mean_auc"]["value"] == 1
    assert metrics["facts"]["predictions"].endswith("masks and probabilities")


def test_a_table_alone_scores_classes_alone(data, tmp_path: Path) -> None:
    metrics = score(
        write_table(data, tmp_path / "a.csv", "File, Nevus,MELANOMA,Seborrheic keratosis"), data, tmp_path / "r"
    )
    assert metrics["segmentation"] is None
    assert metrics["classification"]["mean_auc"]["value"] == 1


def test_the_benign_rest_may_be_wanting(data, tmp_path: Path) -> None:
    rows = data.split("test")
    table = tmp_path / "isic.csv"
    table.write_text("image_id,melanoma,seborrheic_keratosis\n" + "".join(f"{row.id}.jpg,0.7,0.2\n" for row in rows))
    method = open_predictions(table, CLASSES, rows)
    assert method.probabilities[rows[0].id] == pytest.approx((0.1, 0.7, 0.2))


def test_missing_images_are_told_unless_allowed(data, tmp_path: Path) -> None:
    folder = write_masks(data, tmp_path / "masks", "")
    row = data.split("test")[1]
    (folder / f"{row.id}.png").unlink()
    with pytest.raises(UserError, match=f"1 of 4 images are missing: {row.id} .*--allow-missing"):
        score(folder, data, tmp_path / "report")
    metrics = score(folder, data, tmp_path / "report", allow_missing=True)
    assert metrics["images"]["total"] == 3
    assert "1 of 4 images have no prediction" in metrics["facts"]["caution"]


def test_a_mask_of_another_size_or_in_grey_is_told(data, tmp_path: Path) -> None:
    folder = write_masks(data, tmp_path / "masks", "")
    row = data.split("test")[0]
    Image.new("L", (10, 12)).save(folder / f"{row.id}.png")
    with pytest.raises(UserError, match=rf"{row.id}.png: 10 x 12 pixels, its image has {row.width} x {row.height}"):
        score(folder, data, tmp_path / "report")
    grey = np.linspace(0, 255, row.width * row.height).reshape(row.height, row.width).astype(np.uint8)
    Image.fromarray(grey).save(folder / f"{row.id}.png")
    with pytest.raises(UserError, match="shades of grey"):
        score(folder, data, tmp_path / "report")
    Image.new("L", (row.height, row.width)).save(folder / f"{row.id}.png")
    with pytest.raises(UserError, match="as EXIF turns it; this one fits it unturned"):
        score(folder, data, tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("lesion", [1, 255, 65535])
def test_masks_of_sixteen_bits_are_read_too(data, tmp_path: Path, lesion: int) -> None:
    folder = write_masks(data, tmp_path / "masks", "")
    for row in data.split("test"):
        Image.fromarray(data.truth(row).astype(np.uint16) * np.uint16(lesion)).save(folder / f"{row.id}.png")
    assert score(folder, data, tmp_path / "report")["segmentation"]["enhanced"]["jaccard"]["value"] == 1


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("name,melanoma\n", "no column seborrheic_keratosis"),
        ("photo,melanoma,seborrheic_keratosis\n", "no column id"),
        ("id,nevus,melanoma,seborrheic_keratosis\na,0.1,0.2,many\n", "row 2: not a number"),
        ("id,nevus,melanoma,seborrheic_keratosis\na,0.1,0.2,\n", "row 2: not a number"),
        ("id,nevus,melanoma,seborrheic_keratosis\na,0,0,nan\n", "row 2: a probability is not between"),
        ("id,nevus,melanoma,seborrheic_keratosis\na,0,0,1\nb,5,3,2\n", "row 3: a probability is not between"),
        ("id,nevus,melanoma,seborrheic_keratosis\na,0,0,1\na,0,0,1\n", "row 3: the id a is a duplicate"),
        ("", "no column"),
        (
            'id,nevus,melanoma,seborrheic_keratosis\na,0,0,"1\n' + "b" * 140_000,
            "not CSV: field larger than field limit .*; is a quote left open?",
        ),
        (
            "id,nevus,melanoma,seborrheic_keratosis\nother,0,0,1\n",
            "nothing in it for any of the 4 images: its column id names other, the images are called SYN_",
        ),
        (
            "id,image,melanoma,seborrheic_keratosis\n0,x.jpg,0,1\n1,y.jpg,0,1\n",
            "nothing in it for any of the 4 images: its column image names x, y, the images are called SYN_",
        ),
        ("image,MEL,NV,BKL\na,0,0,1\n", "no column melanoma; expected .*; its header is: image, MEL, NV, BKL"),
        ("a,0.5,0.25\nb,0.5,0.25\n", "no column melanoma; .*; its header is: a, 0.5, 0.25"),
        (
            "id,melanoma,seborrheic_keratosis,Melanoma ,Seborrheic keratosis\na,0.5,0.5,1,0\n",
            r"columns 2 \('melanoma'\) and 4 \('Melanoma'\) have the same name; remove or rename one",
        ),
    ],
)
def test_a_wrong_table_is_told_in_one_line(data, tmp_path: Path, text: str, wrong: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=wrong) as raised:
        score(tmp_path / "a.csv", data, tmp_path / "report")
    assert "a.csv" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_folder_with_nothing_or_with_two_of_a_kind_is_told(data, tmp_path: Path) -> None:
    row = data.split("test")[0]
    with pytest.raises(UserError, match=f"no masks such as {row.id}.png"):
        score(tmp_path, data, tmp_path / "report")
    with pytest.raises(UserError, match="no such file or folder"):
        score(tmp_path / "absent", data, tmp_path / "report")
    folder = write_masks(data, tmp_path / "masks", "")
    (folder / f"{row.id}_mask.png").write_bytes((folder / f"{row.id}.png").read_bytes())
    with pytest.raises(UserError, match="are both masks of"):
        score(folder, data, tmp_path / "report")
    (folder / f"{row.id}_mask.png").unlink()
    write_table(data, folder / "one.csv")
    write_table(data, folder / "two.csv")
    with pytest.raises(UserError, match=r"one.csv and two.csv both hold probabilities"):
        score(folder, data, tmp_path / "report")


def test_an_empty_mask_of_an_empty_image_counts_by_both_rules(data, tmp_path: Path, monkeypatch) -> None:
    row = data.split("test")[0]
    truth = PreparedData.truth
    monkeypatch.setattr(PreparedData, "truth", lambda self, of: truth(self, of) & (of.id != row.id))
    folder = tmp_path / "masks"
    folder.mkdir()
    for of in data.split("test"):
        Image.fromarray(data.truth(of)).save(folder / f"{of.id}.png")
    enhanced = score(folder, data, tmp_path / "report")["segmentation"]["enhanced"]
    assert (enhanced["jaccard"]["value"], enhanced["jaccard_official"]["value"]) == (1, 1)
    assert not math.isnan(enhanced["boundary_distance"]["value"])


def test_masks_with_grey_edges_are_cut_at_half_and_counted(data, tmp_path: Path) -> None:
    folder = write_masks(data, tmp_path / "masks", "")
    row = data.split("test")[0]
    Image.fromarray(data.truth(row)).convert("L").save(tmp_path / "a.jpg", quality=90)
    with Image.open(tmp_path / "a.jpg") as grey:
        grey.save(folder / f"{row.id}.png")
    metrics = score(folder, data, tmp_path / "report")
    assert metrics["segmentation"]["enhanced"]["jaccard"]["value"] > 0.99
    assert metrics["facts"]["masks"] == "1 of 4 had grey edges and were cut at half"


def test_scores_on_a_truth_that_is_all_lesion_say_so(tiny_config, tmp_path: Path) -> None:
    """The truth of one image is full, so that a mask that is full everywhere scores 1 on it."""
    lines = ["id,image,mask,split"]
    for name, box in (("a", (0, 0, 60, 44)), ("b", (10, 10, 40, 30)), ("c", (20, 10, 50, 30))):
        noise = np.random.default_rng(ord(name)).integers(0, 256, (44, 60, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{name}.png")
        mask = Image.new("L", (60, 44), 0)
        mask.paste(255, box)
        mask.save(tmp_path / f"{name}_mask.png")
        lines.append(f"{name},{name}.png,{name}_mask.png,test")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    data = prepare(tmp_path / "t.csv", tmp_path / "data", tiny_config())
    (tmp_path / "full").mkdir()
    for name in "abc":
        Image.new("L", (60, 44), 255).save(tmp_path / "full" / f"{name}.png")
    report = evaluate_predictions(tmp_path / "full", data, "test", tmp_path / "report", bootstrap_samples=5)
    caution = "1 of the 3 masks of the truth call the whole image lesion, so scores of masks say little"
    assert report.metrics["facts"]["caution"] == caution
    assert caution in (report.path / "report.html").read_text()
    assert f"caution  {caution}" in score_lines(report)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("first", "header", "line"),
    [
        ("", "id;nevus;melanoma;seborrheic_keratosis", "{id};{0};{1};{2}"),
        ("sep=;\n", "id;nevus;melanoma;seborrheic_keratosis;;", "{id}.JPG;{0};{1};{2};;"),
        ("", "image\tNevus\tMelanoma\tSeborrheic Keratosis", "{lower}\t{0}\t{1}\t{2}"),
        ("", "id,image,nevus,melanoma,seborrheic_keratosis", '{n},p/{id}.jpg,"{0}","{1}","{2}"'),
    ],
)
def test_tables_of_other_programs(data, tmp_path: Path, encoding: str, first: str, header: str, line: str) -> None:
    rows = data.split("test")
    shares = [[f"{0.5 if row.label == index else 0.25}".replace(".", ",") for index in range(3)] for row in rows]
    lines = [
        line.format(*share, id=row.id, lower=row.id.lower(), n=n)
        for n, (row, share) in enumerate(zip(rows, shares, strict=True))
    ]
    (tmp_path / "t.csv").write_text(f"{first}{header}\n" + "\n".join(lines), encoding=encoding)
    method = open_predictions(tmp_path / "t.csv", CLASSES, rows)
    assert {row.id: method.probabilities[row.id][row.label or 0] for row in rows} == {row.id: 0.5 for row in rows}


def test_a_table_in_the_folder_that_is_not_read_is_named(data, tmp_path: Path) -> None:
    folder = write_masks(data, tmp_path / "masks", "_Segmentation")
    (folder / "scores.csv").write_text("image,MEL,BKL\na,0,1\n")
    metrics = score(folder, data, tmp_path / "report")
    assert metrics["segmentation"]["enhanced"]["jaccard"]["value"] == 1
    assert metrics["facts"]["caution"] == f"not read, for want of columns for {', '.join(CLASSES)}: scores.csv"
    for mask in folder.glob("*.png"):
        mask.rename(folder / f"x{mask.name}")
    with pytest.raises(UserError, match=r"no masks such as SYN_.*; there are xSYN_.*_Segmentation.png, .* and 2 more"):
        score(folder, data, tmp_path / "report")
