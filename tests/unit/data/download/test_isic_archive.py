"""Images of the ISIC Archive, from a server on this machine that answers as the archive's API does."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from mbdcnn.cli import main
from mbdcnn.config import load_config
from mbdcnn.data import read_raw
from mbdcnn.data.download import isic_archive as archive
from mbdcnn.data.download.isic_archive import class_of, download_extra, read_ids
from mbdcnn.data.prepare import prepare
from mbdcnn.data.synthetic import generate
from mbdcnn.errors import UserError

if TYPE_CHECKING:
    from sites import Site

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
NEVUS = {"diagnosis_1": "Benign", "diagnosis_2": "Benign melanocytic proliferations", "diagnosis_3": "Nevus"}
MELANOMA = {
    "diagnosis_1": "Malignant",
    "diagnosis_2": "Malignant melanocytic proliferations (Melanoma)",
    "diagnosis_3": "Melanoma Invasive",
}
KERATOSIS = {"diagnosis_2": "Benign epidermal proliferations", "diagnosis_3": "Seborrheic keratosis"}
COLLISION = {"diagnosis_1": "Benign", "diagnosis_2": "Collision - Only benign proliferations"}


def name(number: int) -> str:
    return f"ISIC_{number:07d}"


def jpeg(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (number % 256, 80, 60)).save(buffer, "JPEG")
    return buffer.getvalue()


class Archive:
    """The API: searches by id, in pages."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.clinical: dict[str, dict[str, Any]] = {}
        self.page = 100
        self.queries: list[list[str]] = []
        site.answers = self.answer

    def add(self, number: int, clinical: dict[str, Any]) -> None:
        self.clinical[name(number)] = clinical
        self.site.files[f"/images/{name(number)}.JPG"] = jpeg(number)

    @property
    def address(self) -> str:
        return f"{self.site.address}/api/v2/"

    def answer(self, path: str) -> bytes | None:
        if not path.startswith("/api/v2/images/search/?"):
            return None
        asked = {key: values[0] for key, values in parse_qs(urlsplit(path).query).items()}
        ids = re.findall(r"isic_id:(ISIC_\d{7})", asked["query"])
        assert asked["query"] == " OR ".join(f"isic_id:{image_id}" for image_id in ids)
        start = int(asked.get("cursor", 0))
        if not start:
            self.queries.append(ids)
        known = [image_id for image_id in ids if image_id in self.clinical]
        more = start + self.page < len(known)
        following = f"{self.site.address}{path.partition('&cursor=')[0]}&cursor={start + self.page}" if more else None
        results = [self.result(image_id) for image_id in known[start : start + self.page]]
        return json.dumps({"count": len(known), "next": following, "previous": None, "results": results}).encode()

    def result(self, image_id: str) -> dict[str, Any]:
        path = f"/images/{image_id}.JPG"
        url = f"{self.site.address}{path}?Expires=1&Signature=secret"
        full = {"url": url, "size": len(self.site.files.get(path, b"0"))}
        metadata = {"acquisition": {"pixels_x": 64}, "clinical": self.clinical[image_id]}
        return {"isic_id": image_id, "files": {"full": full, "thumbnail_256": full}, "metadata": metadata}


@pytest.fixture
def api(site: Site) -> Archive:
    return Archive(site)


def ids_file(folder: Path, *numbers: int) -> Path:
    (folder / "ids.txt").write_text("".join(f"{name(number)}\n" for number in numbers))
    return folder / "ids.txt"


def table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("clinical", "label"),
    [
        (NEVUS, "nevus"),
        (MELANOMA, "melanoma"),
        (KERATOSIS, "seborrheic_keratosis"),
        ({"diagnosis_4": "Seborrheic keratosis, clonal"}, "seborrheic_keratosis"),
        ({"diagnosis": "melanoma"}, "melanoma"),
        ({"diagnosis": "seborrheic keratosis"}, "seborrheic_keratosis"),
        ({"diagnosis": "nevus", "benign_malignant": "benign"}, "nevus"),
        (COLLISION, None),
        ({"diagnosis_2": "Indeterminate melanocytic proliferations", "diagnosis_3": "Atypical nevus"}, None),
        ({"diagnosis_1": "Benign", "diagnosis_3": None}, None),
        ({"diagnosis": "basal cell carcinoma"}, None),
        ({}, None),
    ],
)
def test_diagnoses_old_and_new(clinical: dict[str, Any], label: str | None) -> None:
    assert class_of(clinical) == label


def test_images_table_and_what_is_left_out(api: Archive, tmp_path: Path) -> None:
    for number, clinical in enumerate([NEVUS, MELANOMA, KERATOSIS, {"diagnosis": "nevus"}, COLLISION, {}]):
        api.add(number, clinical)
    told: list[tuple[int, int]] = []
    extra = download_extra(
        ids_file(tmp_path, *range(7)),
        tmp_path / "extra",
        api=api.address,
        progress=lambda done, total, note="": told.append((done, total)),
    )
    labels = ["nevus", "melanoma", "seborrheic_keratosis", "nevus"]
    assert table(extra.table) == [
        {"id": name(i), "image": f"images/{name(i)}.jpg", "mask": "", "label": label, "split": "train"}
        for i, label in enumerate(labels)
    ]
    assert extra.classes == {"nevus": 2, "melanoma": 1, "seborrheic_keratosis": 1}
    reasons = {
        name(4): "diagnosis: Benign / Collision - Only benign proliferations",
        name(5): "no diagnosis",
        name(6): "not in the archive",
    }
    assert extra.left_out == reasons
    listed = table(tmp_path / "extra" / "left_out.csv")
    assert {row["isic_id"]: row["reason"] for row in listed} == reasons
    assert {file.name for file in (tmp_path / "extra" / "images").iterdir()} == {f"{name(i)}.jpg" for i in range(4)}
    assert (tmp_path / "extra" / "images" / f"{name(2)}.jpg").read_bytes() == jpeg(2)
    assert told == [(i, 7) for i in range(1, 8)]
    records = read_raw(extra.table, load_config().classes).records
    assert [(record.id, record.label, record.mask, record.split) for record in records] == [
        (name(i), load_config().classes.index(label), None, "train") for i, label in enumerate(labels)
    ]


def test_batches_and_pages(api: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "BATCH", 5)
    api.page = 2
    for number in range(12):
        api.add(number, NEVUS)
    extra = download_extra(ids_file(tmp_path, *range(12)), tmp_path / "extra", api=api.address)
    assert [row["id"] for row in table(extra.table)] == [name(i) for i in range(12)]
    assert api.queries == [[name(i) for i in range(start, min(start + 5, 12))] for start in (0, 5, 10)]
    assert len(api.site.got("/api/v2/images/search/")) == 3 + 3 + 1


def test_goes_on_with_what_is_here(api: Archive, tmp_path: Path) -> None:
    for number in range(4):
        api.add(number, NEVUS)
    images = tmp_path / "extra" / "images"
    images.mkdir(parents=True)
    (images / f"{name(0)}.jpg").write_bytes(jpeg(0))
    (images / f"{name(1)}.jpg").write_bytes(b"too short")
    (images / f"{name(2)}.jpg.part").write_bytes(jpeg(2)[:100])
    download_extra(ids_file(tmp_path, *range(4)), tmp_path / "extra", api=api.address)
    assert {file.name: file.read_bytes() for file in images.iterdir()} == {f"{name(i)}.jpg": jpeg(i) for i in range(4)}
    got = [api.site.got(f"/images/{name(i)}.JPG") for i in range(4)]
    assert got == [[], [None], ["bytes=100-"], [None]]


def test_faults_of_the_network(api: Archive, tmp_path: Path) -> None:
    api.add(0, NEVUS)
    path = f"/images/{name(0)}.JPG"
    api.site.statuses |= {"/api/v2/images/search/": [503, 500], path: [500]}
    api.site.cuts |= {path: [200]}
    download_extra(ids_file(tmp_path, 0), tmp_path / "extra", api=api.address)
    assert (tmp_path / "extra" / "images" / f"{name(0)}.jpg").read_bytes() == jpeg(0)


def test_a_lasting_fault_ends_it_without_a_table(api: Archive, tmp_path: Path) -> None:
    for number in range(8):
        api.add(number, NEVUS)
    api.site.statuses[f"/images/{name(3)}.JPG"] = [500] * 50
    with pytest.raises(UserError, match=r"ISIC_0000003\.JPG: HTTP 500 .*, 4 times") as error:
        download_extra(ids_file(tmp_path, *range(8)), tmp_path / "extra", api=api.address)
    assert "Signature" not in str(error.value)
    assert not (tmp_path / "extra" / "images.csv").exists()


def test_an_image_that_is_not_given_out(api: Archive, tmp_path: Path) -> None:
    api.add(0, NEVUS)
    api.add(1, NEVUS)
    del api.site.files[f"/images/{name(1)}.JPG"]
    extra = download_extra(ids_file(tmp_path, 0, 1), tmp_path / "extra", api=api.address)
    assert list(extra.left_out) == [name(1)]
    assert "HTTP 404" in extra.left_out[name(1)]
    assert "Signature" not in extra.left_out[name(1)]


def test_diagnoses_of_the_file_fill_gaps_only(api: Archive, tmp_path: Path) -> None:
    api.add(0, {})
    api.add(1, {"sex": "male"})
    api.add(2, MELANOMA)
    lines = [
        "isic_id,diagnosis_1,diagnosis_2,diagnosis_3",
        f'{name(0)},Malignant,Malignant melanocytic proliferations (Melanoma),"Melanoma, NOS"',
        f"{name(1)},,,",
        f"{name(2)},Benign,Benign melanocytic proliferations,Nevus",
    ]
    (tmp_path / "ids.csv").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    extra = download_extra(tmp_path / "ids.csv", tmp_path / "extra", api=api.address)
    assert [row["label"] for row in table(extra.table)] == ["melanoma", "melanoma"]
    assert extra.left_out == {name(1): "no diagnosis"}


def test_nothing_is_left(api: Archive, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none of its 2 images can be used \(ISIC_0000001: not in the archive\)"):
        download_extra(ids_file(tmp_path, 1, 2), tmp_path / "extra", api=api.address)
    assert len(table(tmp_path / "extra" / "left_out.csv")) == 2


@pytest.mark.parametrize("answer", [b"<html>maintenance</html>", b"[]", b'{"results": [{"isic_id": "x"}]}'])
def test_an_answer_of_another_kind(site: Site, tmp_path: Path, answer: bytes) -> None:
    site.files["/api/v2/images/search/"] = answer
    with pytest.raises(UserError) as error:
        download_extra(ids_file(tmp_path, 1), tmp_path / "extra", api=f"{site.address}/api/v2")
    assert str(error.value).startswith(f"{site.address}/api/v2/images/search/: ")
    assert "\n" not in str(error.value)


def test_ids_in_every_form(tmp_path: Path) -> None:
    file = tmp_path / "ids"
    file.write_text("ISIC_0000002\n\n  isic_0000001.jpg \nISIC_0000002\n")
    assert list(read_ids(file)) == ["ISIC_0000002", "ISIC_0000001"]
    file.write_text("attribution,ISIC_ID\nx,ISIC_0000003\n")
    assert list(read_ids(file)) == ["ISIC_0000003"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no ids in it"),
        ("isic_id\n", "no ids in it"),
        ("ISIC_0000001\nISIC_12\n", "ids row 2: 'ISIC_12' is no id"),
        ("isic_id,diagnosis\n,nevus\n", "ids row 2: '' is no id"),
        ("photo\nISIC_0000001", "ids row 1: 'photo' is no id"),
        ("isic_id,ISIC ID\nISIC_0000001,ISIC_0000002", "columns 1 ('isic_id') and 2 ('ISIC ID') have the same name"),
        ("ISIC_0000001 OR sex:male", "is no id"),
    ],
)
def test_no_list_of_ids(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "ids").write_text(text)
    with pytest.raises(UserError, match=re.escape(message)) as error:
        read_ids(tmp_path / "ids")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="no such file"):
        read_ids(tmp_path / "nowhere")


SMALL = load_config(None, ["data.image_size=32", "data.segmentation_size=48", "data.scales=[32]"])


def test_extra_images_join_the_training_of_the_classifier_only(api: Archive, tmp_path: Path) -> None:
    generate(tmp_path / "raw", {"train": 4, "validation": 3, "test": 3}, (64, 48))
    for number in range(3):
        api.add(number, MELANOMA)
    extra = download_extra(ids_file(tmp_path, *range(3)), tmp_path / "extra", api=api.address)
    plain = prepare(tmp_path / "raw", tmp_path / "plain", SMALL)
    data = prepare(tmp_path / "raw", tmp_path / "data", SMALL, extra=[extra.table])
    added = [row for row in data.rows if row.id.startswith("ISIC_")]
    assert [(row.split, row.label, row.has_mask, row.training_row) for row in added] == [("train", 1, False, None)] * 3
    assert all(len(row.views) == 15 for row in added)
    assert len(data.rows) == len(plain.rows) + 3
    assert data.training_images.shape == plain.training_images.shape
    assert data.provenance.inputs.keys() == {"raw", "extra 1"}
    assert data.provenance.inputs["raw"] == plain.provenance.inputs["raw"]
    assert data.provenance.facts["kind"] == "ISIC-2017 and a table"


def test_extra_images_are_part_of_what_is_current(tmp_path: Path, api: Archive) -> None:
    generate(tmp_path / "raw", {"train": 4, "validation": 3, "test": 3}, (64, 48))
    api.add(0, MELANOMA)
    extra = download_extra(ids_file(tmp_path, 0), tmp_path / "extra", api=api.address)
    first = prepare(tmp_path / "raw", tmp_path / "data", SMALL, extra=[extra.table])
    again = prepare(tmp_path / "raw", tmp_path / "data", SMALL, extra=[extra.table])
    assert again.provenance == first.provenance
    assert len(first.rows) == 11
    assert len(prepare(tmp_path / "raw", tmp_path / "data", SMALL).rows) == 10


def test_an_extra_image_that_is_a_test_image_is_refused(api: Archive, tmp_path: Path) -> None:
    generate(tmp_path / "raw", {"train": 4, "validation": 3, "test": 3}, (64, 48))
    api.add(0, MELANOMA)
    extra = download_extra(ids_file(tmp_path, 0), tmp_path / "extra", api=api.address)
    tested = read_raw(tmp_path / "raw", SMALL.classes).records[-1].id
    extra.table.write_text(extra.table.read_text().replace(f"{name(0)},", f"{tested},", 1))
    with pytest.raises(UserError, match=f"two images with the id {tested} in test and train"):
        prepare(tmp_path / "raw", tmp_path / "data", SMALL, extra=[extra.table])


def test_command(api: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate(tmp_path / "raw", {"train": 4, "validation": 3}, (64, 48))
    api.add(0, MELANOMA)
    to, file = tmp_path / "extra", ids_file(tmp_path, 0, 1)
    for arguments in (
        ["download", "extra", "--ids", str(file), "--to", str(to), "--base-url", api.address, "-q"],
        [
            "prepare",
            str(tmp_path / "raw"),
            str(tmp_path / "data"),
            "--extra",
            str(to / "images.csv"),
            "--config",
            "demo",
        ],
    ):
        with pytest.raises(SystemExit) as finished:
            main(arguments)
        assert not finished.value.code
    first, second, third, *_ = capsys.readouterr().out.splitlines()
    assert first == f"{to / 'images.csv'}: 1 images (melanoma 1); next: prepare or run with --extra"
    assert second == f"1 left out, the reasons are in {to / 'left_out.csv'}"
    assert third.startswith("8 images from ISIC-2017 and a table")
