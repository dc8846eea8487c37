"""Bad images through every way into the program: each must end in a result or in one line that says why not.

As a program it drives one door in a process of its own, so that the most memory it ever took can be read:
`python tests/doors.py predict|prepare|serve BUNDLE CONFIG FOLDER SEED COUNT` prints what happened as JSON, and
`python tests/doors.py decode FILE` of one image.
"""

from __future__ import annotations

import faulthandler
import json
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bad_images import BadImage, bad_images, whole_images
from mbdcnn.config import Config, load_config
from mbdcnn.data.images.decoding import decode
from mbdcnn.data.prepare import prepare
from mbdcnn.errors import UserError
from mbdcnn.inference.predict import predict_files
from mbdcnn.inference.predictor import Predictor

PATIENCE = 60
"""Seconds for one image, after which the process ends with its stack on standard error."""


class Outcome(NamedTuple):
    """What became of an image."""

    kind: str
    reason: str | None
    """Why there is no result, if there is none."""
    seconds: float


Door = Callable[[BadImage], str | None]
"""Takes an image; gives the reason if there is no result."""


def check_reason(reason: str) -> None:
    """Raise an AssertionError unless it is one line that a user can read."""
    assert reason
    assert reason.isprintable(), reason
    assert len(reason) < 2000, reason[:200]
    assert "Traceback" not in reason
    assert "Error(" not in reason


def through(door: Door, images: Iterable[BadImage]) -> Iterator[Outcome]:
    """Send images through a door, and check what comes out."""
    for image in images:
        started = time.perf_counter()
        try:
            reason = door(image)
        except BaseException as error:
            error.add_note(f"the image was: {image.kind}, named {image.name!r}")
            raise
        if reason is not None:
            check_reason(reason)
        assert reason is None or not image.whole, (image.kind, reason)
        yield Outcome(image.kind, reason, time.perf_counter() - started)


def predicting(predictor: Predictor, folder: Path) -> Door:
    """Predict files, each in a folder of its own."""
    images, out = folder / "images", folder / "out"

    def door(image: BadImage) -> str | None:
        file = _written(image, images)
        (entry,) = predict_files(predictor, [file], out)
        results = {path.name for path in out.iterdir()} - {"predictions.json", "predictions.csv"}
        shutil.rmtree(out)
        assert len(results) == (0 if "problem" in entry else 4), results
        reason: str | None = entry.get("problem")
        if reason is None:
            assert entry["width"] * entry["height"] > 0
            assert abs(sum(entry["probabilities"].values()) - 1) < 1e-4
        return reason

    return door


def preparing(config: Config, folder: Path) -> Door:
    """Prepare a table of one image; of every other one the file is the mask, of an image of its size."""
    good, turn = whole_images()["png RGB"], 0

    def door(image: BadImage) -> str | None:
        nonlocal turn
        turn += 1
        file = _written(image, folder / "images")
        is_mask = turn % 2 == 0 and not image.whole
        if is_mask:
            (folder / "good.png").write_bytes(good)
        cells = ["id,image,mask,label,split", f"a,good.png,{_quoted(file)},nevus,test"]
        if not is_mask:
            cells[1] = f"a,{_quoted(file)},,nevus,test"
        table = folder / "table.csv"
        try:
            table.write_text("\n".join(cells) + "\n", encoding="utf-8")
        except UnicodeEncodeError:
            file = file.rename(folder / "images" / "name.jpg")
            table.write_text("\n".join([cells[0], f"a,{_quoted(file)},,nevus,test"]), encoding="utf-8")
        try:
            data = prepare(table, folder / "data", config)
        except UserError as error:
            assert not (folder / "data").exists()
            return str(error)
        assert data.rows[0].width * data.rows[0].height > 0
        shutil.rmtree(folder / "data")
        return None

    return door


def _quoted(file: Path) -> str:
    return '"' + f"images/{file.name}".replace('"', '""') + '"'


def asking(client: Any) -> Door:
    """Post to the HTTP API: the bare file and as a form in turn."""
    turn = 0

    def door(image: BadImage) -> str | None:
        nonlocal turn
        turn += 1
        if turn % 2:
            answer = client.post("/v1/predictions", content=image.content, headers={"Content-Type": "image/jpeg"})
        else:
            answer = client.post("/v1/predictions", files={"image": ("x.jpg", image.content)})
        if answer.status_code == 200:
            assert abs(sum(answer.json()["probabilities"].values()) - 1) < 1e-4
            return None
        assert answer.status_code in {400, 413, 415, 422}, (answer.status_code, answer.text)
        assert answer.json().keys() == {"error"}
        reason: str = answer.json()["error"]
        return reason

    return door


def _written(image: BadImage, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    file = folder / image.name
    file.write_bytes(image.content)
    return file


def main(name: str, *arguments: str) -> None:
    """Drive one door, and print what happened."""
    told = {"size": decode(Path(arguments[0])).size} if name == "decode" else {"outcomes": _drive(name, *arguments)}
    print(json.dumps(told | {"kilobytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))


def _drive(name: str, bundle: str, settings: str, folder: str, seed: str, count: str) -> list[Outcome]:
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    images = bad_images(int(seed), int(count))
    predictor = Predictor.load(bundle, device="cpu")
    faulthandler.enable()
    if name == "serve":
        from starlette.testclient import TestClient

        from mbdcnn.serving.app import create_app

        with TestClient(create_app(predictor)) as client:
            return _watched(asking(client), images)
    if name == "predict":
        return _watched(predicting(predictor, place), images)
    return _watched(preparing(load_config(settings), place), images)


def _watched(door: Door, images: Iterable[BadImage]) -> list[Outcome]:
    outcomes = []
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    for outcome in through(door, images):
        outcomes.append(outcome)
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
    faulthandler.cancel_dump_traceback_later()
    return outcomes


if __name__ == "__main__":
    main(*sys.argv[1:])
