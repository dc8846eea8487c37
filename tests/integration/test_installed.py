"""The wheel as a user has it: built, installed by itself, and used with the libraries of no extra, and of each.

Libraries that an installation would lack are there but hidden: no index is asked, and torch is not fetched again.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from dicom_files import lesion, photograph
from mbdcnn.data.synthetic import draw, generate

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EXTRAS = {
    extra: {re.split(r"[\[<>=]", wanted)[0].replace("-", "_") for wanted in requirements}
    for extra, requirements in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ].items()
    if extra != "dev"
}
HIDE = """
import os, sys
from importlib.machinery import PathFinder

HIDDEN = {*os.environ["HIDDEN"].split(",")}


class Rest:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else PathFinder.find_spec(name, path, target)

    @staticmethod
    def find_distributions(context):
        for found in PathFinder.find_distributions(context):
            if found.name.replace("-", "_").lower() not in HIDDEN:
                yield found


sys.meta_path = [Rest if finder is PathFinder else finder for finder in sys.meta_path]
"""
USES = {
    "train": "train coarse --data data --config tiny.yaml --out run --quiet",
    "serve": "serve --port 99999",
    "export": "predict photo.jpg --runtime onnx --out with-onnx",
    "dicom": "predict scan.dcm --out of-dicom --overwrite",
    "keras": "import-weights weights.keras --out imported",
    "cluster": "predict photo.jpg --cluster auto --out tables",
}
"""What each extra is for."""
ENDS = {
    "serve": "port 99999: ports go from 0 to 65535",
    "keras": "weights.keras: ",
    "cluster": "auto: no Ray cluster there",
}
"""Where it would not end well even with the extra: what is said instead of what to install."""
HUB = "from mbdcnn.inference.hub import find_model; find_model('owner/name')"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel alone, installed in a folder."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "-q", ROOT, "--no-deps", "--no-build-isolation", "-w", folder], check=True)
    (wheel,) = folder.glob("mbdcnn-*.whl")
    subprocess.run([*pip, "install", "-q", wheel, "--no-deps", "--no-index", "--target", folder / "site"], check=True)
    (folder / "site" / "sitecustomize.py").write_text(HIDE)
    return folder / "site"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, config_file: Path) -> Path:
    """A folder with what the commands are given."""
    desk = tmp_path_factory.mktemp("desk")
    draw(np.random.default_rng(0), "nevus", (320, 240))[0].save(desk / "photo.jpg")
    (desk / "scan.dcm").write_bytes(photograph(lesion(320, 240)))
    (desk / "weights.keras").write_bytes(b"PK")
    (desk / "tiny.yaml").write_text(f"base: {config_file}\ncoarse: {{training: {{length: 2 steps}}}}\n")
    generate(desk / "raw", {"train": 8, "validation": 4, "test": 4}, size=(60, 44), seed=1)
    return desk


def run(site: Path, desk: Path, arguments: list[str], extra: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python with the libraries of one extra or none."""
    hidden = set().union(*(packages for name, packages in EXTRAS.items() if name != extra)) - EXTRAS.get(
        extra or "", set()
    )
    environment = os.environ | {
        "PYTHONPATH": str(site),
        "HIDDEN": ",".join(hidden),
        "MBDCNN_CACHE": str(desk / "cache"),
    }
    return subprocess.run([sys.executable, *arguments], cwd=desk, env=environment, capture_output=True, text=True)


def test_without_extras_images_are_predicted_prepared_and_scored(site: Path, desk: Path) -> None:
    where = run(site, desk, ["-c", "import mbdcnn; print(mbdcnn.__file__)"])
    assert Path(where.stdout.strip()).is_relative_to(site)
    for line in ("info", "predict photo.jpg", "prepare raw data", "evaluate --data data"):
        done = run(site, desk, ["-m", "mbdcnn", *line.split()])
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), f"{line}: {done.stderr}"
    assert (desk / "predictions" / "photo_mask.png").is_file()
    assert (desk / "report" / "report.html").is_file()


@pytest.mark.parametrize("extra", USES)
def test_what_an_extra_is_for_names_it_without_and_works_with_it(site: Path, desk: Path, extra: str) -> None:
    if extra == "train":
        assert not run(
            site, desk, ["-m", "mbdcnn", "prepare", "raw", "data", "--config", "tiny.yaml", "--overwrite"]
        ).returncode
    command = ["-m", "mbdcnn", *USES[extra].split()]
    without = run(site, desk, command)
    assert without.returncode == 1
    assert f"(the extra `{extra}`); pip install '" in without.stderr.splitlines()[-1]
    assert "Traceback" not in without.stderr
    having = run(site, desk, command, extra)
    assert "the extra" not in having.stderr
    assert "Traceback" not in having.stderr
    assert ENDS.get(extra, "") in having.stderr
    assert having.returncode == (extra in ENDS), having.stderr


def test_a_model_of_the_hub_is_asked_for_with_its_extra_alone(site: Path, desk: Path) -> None:
    assert "(the extra `hub`); pip install 'huggingface" in run(site, desk, ["-c", HUB]).stderr
    assert (
        "the extra"
        not in run(site, desk, ["-c", f"import os; os.environ['HF_HUB_OFFLINE'] = '1'; {HUB}"], "hub").stderr
    )


def test_every_extra_is_tried() -> None:
    assert {*USES, "hub"} == {*EXTRAS}
