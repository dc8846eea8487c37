"""The HTTP interface: what it answers, and what it keeps to itself."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pydicom import uid
from starlette.testclient import TestClient

import mbdcnn
from dicom_files import BORN, NAME, PATIENT, lesion, photograph, run_lengths, saved
from mbdcnn.data.images.decoding import FORMATS
from mbdcnn.inference.prediction import Prediction
from mbdcnn.inference.predictor import Predictor
from mbdcnn.inference.prompts import MOST_POINTS
from mbdcnn.serving.answers import NOTICE, Answer, encode_mask
from mbdcnn.serving.app import PAGES, TYPES, create_app
from mbdcnn.serving.card import card
from mbdcnn.serving.limits import Limits
from serving_clients import form, image, mask_of

PAGE = Path(mbdcnn.__file__).parent / "serving" / "page"
PNG = {"Content-Type": "image/png"}
LIMITS = Limits(upload_megabytes=0.1, megapixels=0.01, queue=4)


@pytest.fixture(scope="module")
def predictor(bundle) -> Predictor:
    return Predictor.load(bundle.path, device="cpu")


@pytest.fixture(scope="module")
def client(predictor: Predictor) -> Iterator[TestClient]:
    with TestClient(create_app(predictor, limits=LIMITS)) as client:
        yield client


@pytest.fixture(scope="module")
def expected(predictor: Predictor) -> Prediction:
    return predictor.predict(image())


def ask(client: TestClient, content: bytes, query: str = "", **headers: str) -> Any:
    response = client.post(f"/v1/predictions{query}", content=content, headers=PNG | headers)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("encoding", ["png", "rle"])
def test_the_answer_is_the_prediction(client: TestClient, expected: Prediction, encoding: str) -> None:
    answer = ask(client, image(), f"?encoding={encoding}")
    known = expected.to_dict()
    assert {name: answer[name] for name in known} == known
    assert mask_of(answer["mask"]).tolist() == expected.mask.tolist()
    assert mask_of(answer["coarse_mask"]).tolist() == expected.coarse_mask.tolist()
    cam = answer["cam"]
    assert (cam["height"], cam["width"]) == expected.cam.shape
    np.testing.assert_allclose(cam["values"], expected.cam, atol=1e-4)
    assert answer["notice"] == NOTICE
    assert answer["model"] == client.get("/v1/model").json()["fingerprint"]


def test_a_form_a_body_and_a_body_without_type_are_the_same(client: TestClient) -> None:
    body, headers = form(image())
    answers = [
        client.post("/v1/predictions", content=body, headers=headers),
        client.post("/v1/predictions", content=image(), headers=PNG),
        client.post("/v1/predictions", content=image()),
        client.post("/v1/predictions", files={"image": image()}),
    ]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1


def test_options_of_query_and_form(client: TestClient, predictor: Predictor) -> None:
    small = ask(client, image(), "?layers=")
    assert (small["mask"], small["coarse_mask"], small["cam"]) == (None, None, None)
    fields = {"layers": "cam,mask", "encoding": "rle", "protocol": "paper"}
    answer = client.post("/v1/predictions?protocol=fast", files={"image": image()}, data=fields).json()
    assert answer["coarse_mask"] is None
    assert answer["mask"]["encoding"] == "rle"
    assert answer["protocol"] == "paper"
    assert answer["probabilities"] == pytest.approx(predictor.predict(image(), "paper").to_dict()["probabilities"])


MASK = np.zeros((44, 60), bool)
MASK[10:30, 20:45] = True


def png(image: Any, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(stream, kind, **options)
    return stream.getvalue()


def ask_with(client: TestClient, content: bytes | None = None, query: str = "", **fields: str) -> Any:
    files = {"image": image()} | ({} if content is None else {"mask": content})
    return client.post(f"/v1/predictions{query}", files=files, data=fields)


@pytest.mark.parametrize("protocol", ["fast", "paper"])
def test_a_mask_points_and_a_box_are_those_of_the_prediction(client, predictor: Predictor, protocol) -> None:
    points, box = [[5, 5.5, 1], [50, 40, 0]], [2, 2, 40, 40]
    canvas = png(Image.fromarray(MASK).convert("RGBA"))
    cases = [
        (ask_with(client, png(MASK), protocol=protocol), {"coarse_mask": MASK}, "given"),
        (ask_with(client, canvas, protocol=protocol), {"coarse_mask": MASK}, "given"),
        (ask_with(client, protocol=protocol, points=json.dumps(points)), {"points": points}, "prompted"),
        (ask_with(client, None, f"?box={box}&protocol={protocol}"), {"box": box}, "prompted"),
        (
            ask_with(client, png(MASK), protocol=protocol, points=json.dumps(points), box=json.dumps(box)),
            {"coarse_mask": MASK, "points": points, "box": box},
            "prompted",
        ),
        (ask_with(client, protocol=protocol, points="[]"), {}, "model"),
    ]
    for response, said, source in cases:
        assert response.status_code == 200, response.text
        answer, expected = response.json(), predictor.predict(image(), protocol, **said)
        known = expected.to_dict()
        assert {name: answer[name] for name in known} == known
        assert answer["coarse_mask_source"] == source
        assert np.array_equal(mask_of(answer["coarse_mask"]), expected.coarse_mask)
        assert np.array_equal(mask_of(answer["mask"]), expected.mask)


def test_an_outline_is_kept_as_the_result(client: TestClient, predictor: Predictor) -> None:
    own, given = predictor.predict(image()), predictor.predict(image(), coarse_mask=MASK)
    answer = ask_with(client, png(MASK), keep_outline="true", layers="mask,coarse_mask,model_mask").json()
    known = given.keep_outline().to_dict()
    assert {name: answer[name] for name in known} == known
    assert (answer["coarse_mask_source"], answer["mask_source"]) == ("given", "given")
    masks = (MASK, MASK, given.mask)
    for name, mask in zip(("mask", "coarse_mask", "model_mask"), masks, strict=True):
        assert np.array_equal(mask_of(answer[name]), mask)
    prompted = ask_with(client, box="[2, 2, 40, 40]", keep_outline="true").json()
    assert (prompted["mask_source"], prompted["model_mask"]) == ("prompted", None)
    assert np.array_equal(mask_of(prompted["mask"]), mask_of(prompted["coarse_mask"]))
    without = ask_with(client, layers="mask,model_mask").json()
    assert without["mask_source"] == "model"
    assert np.array_equal(mask_of(without["model_mask"]), own.mask)
    assert without["mask"] == without["model_mask"]


def test_masks_of_one_batch_are_not_mixed_up(predictor: Predictor) -> None:
    with TestClient(create_app(predictor, limits=Limits(batch_wait=0.2, queue=8))) as client:

        def go(number: int) -> Any:
            mask = np.zeros((44, 60), bool)
            mask[5:40, 5 : 10 + 5 * number] = True
            return ask_with(client, png(mask) if number else None), mask

        with ThreadPoolExecutor(6) as pool:
            done = list(pool.map(go, range(6)))
    assert [response.json()["coarse_mask_source"] for response, _ in done] == ["model", *["given"] * 5]
    for response, mask in done[1:]:
        assert np.array_equal(mask_of(response.json()["coarse_mask"]), mask)


def test_the_scale_of_a_dicom_photograph(client: TestClient) -> None:
    content = photograph(lesion(), PixelSpacing=[0.02, 0.02])
    answer = client.post("/v1/predictions", files={"image": content}, data={"box": "[5, 5, 50, 40]"}).json()
    assert answer["pixel_spacing"] == [0.02, 0.02]
    assert answer["area_square_millimetres"] == pytest.approx(answer["area_pixels"] * 0.0004, abs=1e-4)
    diameter = answer["longest_diameter"]
    if diameter is not None:
        assert diameter["millimetres"] == pytest.approx(diameter["pixels"] * 0.02, abs=1e-3)


def bomb() -> bytes:
    """A small PNG of many pixels."""
    return png(Image.new("1", (9000, 9000)))


HOSTILE = {
    "turned": (png(MASK.T), {}, 422, "coarse mask: 44 x 60 pixels, and its image 60 x 44"),
    "empty": (png(np.zeros_like(MASK)), {}, 422, "coarse mask: empty"),
    "a photograph": (png(lesion()), {}, 422, "coarse mask: "),
    "noise": (b"hello", {}, 415, "mask: not a PNG that can be read"),
    "no bytes": (b"", {}, 415, "mask: not a PNG that can be read"),
    "a JPEG": (png(np.uint8(MASK * 255), "JPEG"), {}, 415, "mask: not a PNG"),
    "cut off": (
        png(np.uint8(np.random.default_rng(0).random((44, 60)) < 0.5))[:200],
        {},
        422,
        "coarse mask: cannot be",
    ),
    "a bomb": (bomb(), {}, 413, "mask: has more than 0.01 million pixels"),
    "a text": (None, {"mask": "hello"}, 400, "its field 'mask' is no file; send a PNG"),
    "outside": (None, {"points": "[[60, 0, 1]]"}, 422, "points: number 1 is not x, y, inside with 0 <= x < 60"),
    "NaN": (None, {"points": "[[1, 1, 1], [NaN, 0, 1]]"}, 422, "points: number 2"),
    "infinity": (None, {"points": "[[1e999, 0, 1]]"}, 422, "points: number 1"),
    "large numbers": (None, {"points": f"[[{'9' * 4000}, 0, 1]]"}, 422, "points: number 1"),
    "larger numbers": (None, {"points": f"[[{'9' * 9000}, 0, 1]]"}, 422, "points: not a list in JSON"),
    "many": (None, {"points": str([[1, 1, 1]] * 31)}, 422, "points: 31 of them; give at most 30"),
    "thousands": (None, {"points": str([[1, 1, 1]] * 5000)}, 400, "a field holds more than 10000 signs"),
    "deep": (None, {"points": "[" * 9999}, 422, "points: not a list in JSON"),
    "an object": (None, {"points": '{"x": 1}'}, 422, "points: not a list in JSON"),
    "no text": (None, {"points": ""}, 422, "points: not a list in JSON"),
    "a box inside out": (None, {"box": "[9, 9, 2, 2]"}, 422, "box: not x0, y0, x1, y1"),
    "a box outside": (None, {"box": "[0, 0, 61, 44]"}, 422, "box: not x0, y0, x1, y1 with 0 <= x0 < x1 <= 60"),
    "nothing to keep": (None, {"keep_outline": "true"}, 422, "keep_outline: no outline to keep; send mask, points or"),
    "no clicks to keep": (None, {"keep_outline": "true", "points": "[]"}, 422, "keep_outline: no outline to keep"),
    "keep what": (png(MASK), {"keep_outline": "mine"}, 422, "keep_outline: "),
    "a box of points": (None, {"box": "[[1, 2], [3, 4]]"}, 422, "box: not x0"),
}


@pytest.mark.parametrize(("mask", "fields", "status", "saying"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_masks_points_and_boxes_are_refused_in_one_line(client, mask, fields, status, saying) -> None:
    response = ask_with(client, mask, **fields)
    assert response.status_code == status, response.text
    assert saying in response.json()["error"]
    assert response.json().keys() == {"error"}
    assert "\n" not in response.json()["error"]
    assert len(response.json()["error"]) < 400


def test_a_file_in_place_of_points(client: TestClient) -> None:
    response = client.post("/v1/predictions", files={"image": image(), "points": b"[[1, 1, 1]]"})
    assert (response.status_code, response.json()["error"][:24]) == (422, "points: not a list in JS")


def test_the_schema_holds_all_that_a_prediction_tells(expected: Prediction) -> None:
    assert expected.to_dict().keys() <= Answer.model_fields.keys()


def damaged() -> bytes:
    content = image(90, 90)
    return content[:60] + b"\xff" * 40 + content[100:]


def truncated_jpeg() -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(stream, "JPEG")
    return stream.getvalue()[:900]


MULTIPART_TYPE = "multipart/form-data"
NO_END, MULTIPART = form(image())[0][:-12], form(b"")[1]
REFUSED = {
    "nothing": (b"", PNG, "", 400, "no image"),
    "another field": (*form(image(), "photo"), "", 400, "form's file 'image'"),
    "a form cut off": (NO_END, MULTIPART, "", 400, "cut off"),
    "a form without boundary": (b"x", {"Content-Type": MULTIPART_TYPE}, "", 400, "boundary"),
    "a form with a long boundary": (
        b"x",
        {"Content-Type": f"{MULTIPART_TYPE}; boundary={'x' * 257}"},
        "",
        400,
        "damaged",
    ),
    "a form of noise": (b"x" * 99, MULTIPART, "", 400, "cannot be read"),
    "too many fields": (form(b"")[0][:-9] * 9, MULTIPART, "", 400, "more than 8 fields"),
    "two images": (form(image())[0][:-9] + form(image())[0], MULTIPART, "", 400, "two of its fields"),
    "JSON": (b"{}", {"Content-Type": "application/json"}, "", 415, "image/..."),
    "no image": (b"hello", PNG, "", 415, "not an image"),
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(99), PNG, "", 415, "a HEIC image, which is not read; convert it: pip"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", PNG, "", 415, "not an image"),
    "damaged": (damaged(), PNG, "", 422, "cannot be decoded"),
    "truncated": (truncated_jpeg(), {"Content-Type": "image/jpeg"}, "", 422, "cannot be decoded"),
    "many bytes": (b"x" * 100_001, PNG, "", 413, "larger than 0.1 MB"),
    "many pixels": (image(101, 100), PNG, "", 413, "more than 0.01 million pixels"),
    "many pixels in DICOM": (photograph(lesion(101, 100)), PNG, "", 413, "more than 0.01 million pixels"),
    "a bomb in DICOM": (photograph(lesion(), Rows=20_000, Columns=10_001), PNG, "", 413, "more than 0.01 million"),
    "unknown option": (image(), PNG, "?format=png", 422, "format: unknown; known are protocol, layers, encoding"),
    "unknown layer": (image(), PNG, "?layers=mask,heat", 422, "unknown layer 'heat'"),
    "unknown protocol": (image(), PNG, "?protocol=quick", 422, "protocol: "),
}


@pytest.mark.parametrize(("body", "headers", "query", "status", "saying"), REFUSED.values(), ids=REFUSED)
def test_refusals_are_one_line(client, body: bytes, headers, query: str, status: int, saying: str) -> None:
    response = client.post(f"/v1/predictions{query}", content=body, headers=headers)
    assert response.status_code == status
    assert saying in response.json()["error"]
    assert response.json().keys() == {"error"}
    assert "\n" not in response.json()["error"]


def test_a_photograph_with_a_video_behind_it(client: TestClient) -> None:
    plain = saved(lesion(), "JPEG")
    answers = [
        client.post("/v1/predictions", content=content, headers={"Content-Type": "image/jpeg"})
        for content in (plain, plain + b"\0\0\0\x18ftypmp42" + b"\xff\xda" * 9000)
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["probabilities"] == answers[1].json()["probabilities"]


def test_a_body_that_does_not_say_how_long_it_is(client: TestClient) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(11):
            yield b"x" * 10_000

    assert client.post("/v1/predictions", content=chunks(), headers=PNG).status_code == 413


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 9000), (9000, 1), (100, 100)])
def test_images_of_every_shape(client: TestClient, width: int, height: int) -> None:
    answer = ask(client, image(width, height))
    assert (answer["width"], answer["height"]) == (width, height)
    assert mask_of(answer["mask"]).shape == (height, width)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_that_is_promised(client: TestClient, kind: str) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), (90, 60, 50)).save(stream, kind)
    assert ask(client, stream.getvalue())["width"] == 40


LESION = lesion()
DICOM = {
    "uncompressed": photograph(LESION),
    "run lengths": photograph(LESION, syntax=uid.RLELossless, frame=run_lengths(LESION)),
    "JPEG 2000": photograph(LESION, "YBR_RCT", uid.JPEG2000Lossless, frame=saved(LESION, "JPEG2000", mct=1)),
}


@pytest.mark.parametrize("content", DICOM.values(), ids=DICOM)
@pytest.mark.parametrize("way", ["form", "application/dicom", "application/octet-stream"])
def test_a_dicom_photograph(client: TestClient, predictor: Predictor, content: bytes, way: str) -> None:
    if way == "form":
        response = client.post("/v1/predictions", files={"image": ("scan.dcm", content, "application/dicom")})
    else:
        response = client.post("/v1/predictions", content=content, headers={"Content-Type": way})
    assert response.status_code == 200, response.text
    expected = predictor.predict(LESION)
    known = expected.to_dict()
    answer = response.json()
    assert {name: answer[name] for name in known} == known
    assert mask_of(answer["mask"]).tolist() == expected.mask.tolist()
    for private in (NAME, *NAME.split("^"), PATIENT, BORN, "Arzt", "A99"):
        assert private not in response.text
        assert private not in str(response.headers)


@pytest.mark.parametrize(
    ("content", "saying"),
    [
        (photograph(LESION, NumberOfFrames=2), "several frames"),
        (photograph(LESION, kind=uid.CTImageStorage), "photograph"),
        (photograph(LESION)[:-500], "DICOM file"),
        (photograph(LESION, syntax=uid.JPEGLSLossless, frame=b"x" * 40), "DICOM file"),
    ],
    ids=["frames", "another kind", "truncated", "another syntax"],
)
def test_a_dicom_file_that_is_not_read(client: TestClient, content: bytes, saying: str) -> None:
    response = client.post("/v1/predictions", content=content, headers={"Content-Type": "application/dicom"})
    assert response.status_code == 422
    assert response.json().keys() == {"error"}
    assert saying in response.json()["error"]
    assert "\n" not in response.json()["error"]
    for private in (*NAME.split("^"), PATIENT, BORN):
        assert private not in response.text


def test_a_copy_for_browsers(client: TestClient) -> None:
    answer = ask(client, photograph(lesion()), "?layers=image,mask")
    copy = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["image"]))))
    assert copy.shape == lesion().shape
    assert np.abs(copy.astype(int) - lesion()).mean() < 6
    assert answer["cam"] is None
    assert ask(client, image())["image"] is None


def test_a_dicom_file_where_the_extra_is_missing(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    import mbdcnn.data.images

    monkeypatch.setitem(sys.modules, "mbdcnn.data.images.dicom", None)
    monkeypatch.delattr(mbdcnn.data.images, "dicom", raising=False)
    response = client.post("/v1/predictions", content=DICOM["uncompressed"])
    assert response.status_code == 422
    assert "pip install " in response.json()["error"]


def test_other_addresses(client: TestClient) -> None:
    assert client.get("/nothing").json() == {"error": "no such page; see /docs"}
    assert client.get("/v1/predictions").status_code == 405
    assert client.get("/page.js/../../app.py").status_code == 404


def test_the_model_is_described(client: TestClient, bundle) -> None:
    model = client.get("/v1/model").json()
    assert model["classes"] == list(bundle.config.classes)
    assert model["version"] == mbdcnn.__version__
    assert model["networks"]["coarse"]["encoder"] == "mobilenet_v2"
    assert model["runtime"] == "torch"
    formats = model["limits"].pop("formats")
    assert formats[: len(FORMATS)] == list(FORMATS)
    assert model["limits"] == {"upload_bytes": 100_000, "pixels": 10_000, "points": MOST_POINTS}
    for protocol in ("fast", "paper"):
        known = bundle.calibration(protocol)
        assert model["calibration"][protocol] == (known and known.model_dump(mode="json"))
    assert model["default_protocol"] == "fast"


def test_state_and_counts(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}
    before = counts(client)
    ask(client, image())
    client.get("/a/path/nobody/has/?patient=Miller")
    batches = before["mbdcnn_batch_images_sum"] + 1
    deadline = time.monotonic() + 10
    # A batch is counted after its last answer is given.
    while (after := counts(client))["mbdcnn_batch_images_sum"] != batches:
        assert time.monotonic() < deadline
    predicted = 'mbdcnn_requests_total{route="/v1/predictions",status="200"}'
    assert after[predicted] == before.get(predicted, 0) + 1
    assert after["mbdcnn_admitted"] == after["mbdcnn_waiting"] == 0
    assert after['mbdcnn_requests_total{route="other",status="404"}'] >= 1
    assert "Miller" not in str(after)


def counts(client: TestClient) -> dict[str, float]:
    text = client.get("/metrics").text
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in text.splitlines() if line[0] != "#")
    }


def test_the_schema_for_machines(client: TestClient) -> None:
    api = client.get("/openapi.json").json()
    assert api["paths"].keys() == {"/v1/predictions", "/v1/model", "/healthz", "/readyz", "/metrics"}
    operation = api["paths"]["/v1/predictions"]["post"]
    assert {each["name"] for each in operation["parameters"]} == {
        *("protocol", "layers", "encoding", "points", "box", "keep_outline")
    }
    assert {*operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]} == {
        *("image", "mask", "protocol", "layers", "encoding", "points", "box", "keep_outline")
    }
    assert operation["requestBody"]["content"]["multipart/form-data"]["schema"]["required"] == ["image"]
    assert operation["responses"].keys() == {"200", "400", "408", "413", "415", "422", "503", "504"}
    references = set(re.findall(r"#/components/schemas/(\w+)", str(api)))
    assert references <= api["components"]["schemas"].keys()
    assert "HTTPValidationError" not in references


@pytest.mark.parametrize("path", [*PAGES, "/card"])
def test_pages(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"].split(";")[0] in TYPES.values()
    assert len(response.content) > 200


def test_the_card_is_shown_without_what_it_might_bring(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(
        "---\nlicense: other\n---\n# Card\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n<script>alert(1)</script>\n\n"
        "## Data and (its) licences\n\n[below](#data-and-its-licences)\n\n[link](javascript:alert(1)) ![image](https://elsewhere.example/a.png)\n\n[paper](https://example.org)\n"
    )
    html = card(SimpleNamespace(path=tmp_path))
    assert html.startswith('<h2 id="card-card">Card</h2>')
    assert '<h3 id="card-data-and-its-licences">' in html
    assert "<td>1</td>" in html
    assert "license" not in html
    assert "<script" not in html
    assert "<img" not in html
    assert re.findall(r'href="(.*?)"', html) == [
        "#card-data-and-its-licences",
        "https://elsewhere.example/a.png",
        "https://example.org",
    ]


def test_a_card_that_leads_elsewhere_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    assert card(SimpleNamespace(path=tmp_path)) == ""
    (tmp_path / "README.md").symlink_to(tmp_path / "secret")
    assert card(SimpleNamespace(path=tmp_path)) == ""


def test_every_answer_keeps_browsers_safe(client: TestClient) -> None:
    answers = [client.get("/"), client.get("/nothing"), client.post("/v1/predictions", content=image())]
    for answer in answers:
        policy = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


def test_pages_need_nothing_from_elsewhere() -> None:
    for file in PAGE.iterdir():
        if file.suffix == ".jpg":
            assert file.stat().st_size < 60_000
            continue
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.findall(r"https?://|//cdn|@import|url\(", text), file.name
        if file.suffix == ".html":
            assert not re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]*src=)", text), file.name
            assert NOTICE in re.sub(r"<[^>]+>", "", text)


def large_mask() -> bytes:
    mask = np.zeros((900, 1000), np.uint8)
    mask[200:600, 300:700] = 255
    return png(mask, compress_level=0)


def test_nothing_of_an_upload_is_written_or_logged(predictor: Predictor, caplog: pytest.LogCaptureFixture) -> None:
    """A form far larger than what the parser would keep in memory of its own accord."""
    written: list[Any] = []
    watching = True

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wxa+"):
            written.append(arguments)

    sys.addaudithook(note)
    caplog.set_level(logging.DEBUG)
    noise = np.random.default_rng(0).integers(0, 256, (900, 1000, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    assert len(stream.getvalue()) > 2_000_000
    body, headers = form(stream.getvalue(), filename="Erika-Miller-1957.png")
    with TestClient(create_app(predictor)) as client:
        statuses = [
            client.post("/v1/predictions", content=body, headers=headers).status_code,
            client.post("/v1/predictions?Erika-Miller=1", content=body, headers=headers).status_code,
            client.post("/v1/predictions", content=body[:-9000], headers=headers).status_code,
            client.post("/v1/predictions", files={"image": stream.getvalue(), "mask": large_mask()}).status_code,
            client.post("/v1/predictions", files={"image": stream.getvalue(), "mask": stream.getvalue()}).status_code,
        ]
    watching = False
    assert statuses == [200, 422, 400, 200, 422]
    assert written == []
    # The test's own client logs what it asks.
    assert not [record for record in caplog.records if "httpx" not in record.name and "Miller" in record.getMessage()]


def test_a_damaged_form_is_not_quoted_in_the_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    body = form(image())[0].replace(b"Content-Type", b"Content\0Type")
    assert client.post("/v1/predictions", content=body, headers=MULTIPART).status_code == 400
    # The test's own client logs what it asks.
    assert not [record for record in caplog.records if not record.name.startswith(("httpx", "asyncio"))]


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_masks_survive_both_encodings(mask: np.ndarray) -> None:
    for encoding in ("png", "rle"):
        assert mask_of(encode_mask(mask, encoding).model_dump()).tolist() == mask.tolist()  # type: ignore[arg-type]


def test_run_lengths_are_those_of_coco() -> None:
    mask = np.array([[0, 1, 1], [0, 1, 0]], bool)
    assert encode_mask(mask, "rle").model_dump() == {"encoding": "rle", "size": (2, 3), "counts": [2, 3, 1]}
    assert encode_mask(~mask, "rle").model_dump()["counts"] == [0, 2, 3, 1]
