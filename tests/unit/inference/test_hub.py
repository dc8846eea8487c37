"""A bundle as a folder of the Hugging Face hub; the hub itself is a stand-in with its signatures."""

from __future__ import annotations

import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import huggingface_hub
import numpy as np
import pytest
import yaml
from huggingface_hub.errors import LocalEntryNotFoundError

from mbdcnn.artifacts import Bundle, Run
from mbdcnn.errors import UserError
from mbdcnn.inference.hub import WANTED, find_model
from mbdcnn.inference.predictor import Predictor

IMAGE = np.random.default_rng(0).integers(0, 256, (44, 60, 3), np.uint8)


class Hub:
    """One repository `me/lesions` with a commit a push."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commits: list[str] = []
        self.made: dict[str, object] = {}

    def create_repo(self, repo_id: str, *, private: bool | None = None, exist_ok: bool = False) -> None:
        assert exist_ok
        self.made = {"name": repo_id, "private": private}

    def upload_folder(
        self, *, repo_id: str, folder_path: Path, allow_patterns: list[str], commit_message: str
    ) -> SimpleNamespace:
        oid = f"{len(self.commits) + 1:040x}"
        self.commits.append(oid)
        for file in folder_path.iterdir():
            if any(fnmatch(file.name, pattern) for pattern in allow_patterns):
                (self.folder / oid).mkdir(parents=True, exist_ok=True)
                shutil.copy(file, self.folder / oid / file.name)
        self.message = commit_message
        return SimpleNamespace(oid=oid)

    def snapshot_download(self, repo_id: str, *, revision: str | None = None, allow_patterns: list[str]) -> str:
        found = self.folder / (revision or self.commits[-1])
        if repo_id != "me/lesions" or not found.is_dir():
            raise LocalEntryNotFoundError("Got: ConnectError\n  An error happened.")
        # The hub's cache holds links to where it keeps the content.
        cache = self.folder / "cache" / found.name
        cache.mkdir(parents=True, exist_ok=True)
        for file in found.iterdir():
            if any(fnmatch(file.name, pattern) for pattern in allow_patterns) and not (cache / file.name).exists():
                (cache / file.name).symlink_to(file)
        return str(cache)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub(tmp_path / "hub")
    api = create_autospec(huggingface_hub.HfApi, instance=True)
    api.create_repo.side_effect, api.upload_folder.side_effect = hub.create_repo, hub.upload_folder
    download = create_autospec(huggingface_hub.snapshot_download, side_effect=hub.snapshot_download)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return hub


@pytest.fixture
def predictor(bundle: Bundle, tmp_path: Path) -> Predictor:
    shutil.copytree(bundle.path, tmp_path / "mine")
    return Predictor.load(tmp_path / "mine", device="cpu")


def test_pushed_and_read_back_it_predicts_the_same(predictor: Predictor, hub: Hub) -> None:
    (predictor.bundle.path / "secret.txt").write_text("of nobody's concern")
    revision = predictor.push_to_hub("me/lesions")
    assert hub.made == {"name": "me/lesions", "private": True}
    assert predictor.bundle.provenance.fingerprint[:12] in hub.message
    pushed = {file.name for file in (hub.folder / revision).iterdir()}
    assert pushed == {*predictor.bundle.provenance.files, "config.json", "README.md"}
    read = Predictor.from_pretrained("me/lesions", device="cpu")
    assert read.bundle.provenance == predictor.bundle.provenance
    assert read.predict(IMAGE).to_dict() == predictor.predict(IMAGE).to_dict()
    assert read.ood is not None


def test_all_that_a_bundle_holds_is_fetched(bundle: Bundle) -> None:
    for name in (*bundle.provenance.files, bundle.filename, "README.md"):
        assert any(fnmatch(name, pattern) for pattern in WANTED), name


def test_a_revision_is_pinned(predictor: Predictor, hub: Hub) -> None:
    first = predictor.push_to_hub("me/lesions")
    (predictor.bundle.path / "README.md").write_text("Another card.")
    predictor.push_to_hub("me/lesions", private=False)
    assert hub.made["private"] is False
    cards = [
        (Predictor.from_pretrained("me/lesions", revision=revision, device="cpu").bundle.path / "README.md").read_text()
        for revision in (first, None)
    ]
    assert cards[0].startswith("---")
    assert cards[1] == "Another card."


def test_checksums_are_held_against_what_the_hub_gives(predictor: Predictor, hub: Hub) -> None:
    revision = predictor.push_to_hub("me/lesions")
    weights = hub.folder / revision / "coarse.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(UserError, match=r"coarse.safetensors: damaged: its checksum"):
        Predictor.from_pretrained("me/lesions")


@pytest.mark.parametrize("revision", [None, "v2"])
def test_what_the_hub_refuses_is_one_line(predictor: Predictor, hub: Hub, revision: str | None) -> None:
    predictor.push_to_hub("me/lesions")
    with pytest.raises(UserError, match=r"me/other.* not reached on the .* hub; .* An error happened\.$") as told:
        Predictor.from_pretrained("me/other", revision=revision)
    assert "\n" not in str(told.value)
    assert revision is None or "at revision v2" in str(told.value)


def test_pushing_without_a_network_is_one_line(predictor: Predictor, hub: Hub, monkeypatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise RuntimeError("Connection refused\nby all")

    monkeypatch.setattr(hub, "create_repo", refuse)
    huggingface_hub.HfApi().create_repo.side_effect = refuse
    with pytest.raises(UserError, match=r"me/lesions: not reached .* Connection refused by all$"):
        predictor.push_to_hub("me/lesions")
    with pytest.raises(UserError, match="lesions: no name on the hub such as owner/name"):
        predictor.push_to_hub("lesions")


def test_folders_need_no_hub(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    (predictor.bundle.path / ".cache").mkdir()
    folder = predictor.save_pretrained(tmp_path / "saved")
    assert {file.name for file in folder.iterdir()} == {*predictor.bundle.provenance.files, "config.json", "README.md"}
    read = Predictor.from_pretrained(folder, device="cpu")
    assert read.bundle.provenance == predictor.bundle.provenance
    with pytest.raises(UserError, match="a folder, which has no revision v1"):
        find_model(folder, "v1")
    with pytest.raises(
        UserError, match=r"no/where: no such folder, .*\(the extra `hub`\); pip install 'huggingface-hub>=[\d.]+'$"
    ):
        find_model("no/where")
    for wrong in ("nowhere", "a/b/c", "/absent/folder", "../x/y"):
        with pytest.raises(UserError, match="no such folder, and no name on the hub"):
            find_model(wrong)


def test_saving_replaces_a_bundle_and_nothing_else(predictor: Predictor, experiment, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    predictor.save_pretrained(folder)
    (folder / "coarse.safetensors").write_bytes(b"damaged")
    predictor.save_pretrained(folder)
    Bundle.open(folder, verify=True)
    predictor.save_pretrained(predictor.bundle.path)
    Bundle.open(predictor.bundle.path, verify=True)
    shutil.copytree(experiment.out / "runs" / "coarse", tmp_path / "run")
    with pytest.raises(UserError, match="exists and is not a Bundle folder"):
        predictor.save_pretrained(tmp_path / "run")
    Run.open(tmp_path / "run")
    assert {file.name for file in tmp_path.iterdir()} == {"mine", "saved", "run"}


def test_the_card_opens_as_the_hub_wants_it(bundle: Bundle) -> None:
    card = (bundle.path / "README.md").read_text()
    facts = yaml.safe_load(card.split("---\n")[1])
    assert facts["library_name"] == "mbdcnn"
    assert facts["pipeline_tag"] == "image-segmentation"
    assert "dermoscopy" in facts["tags"]
    assert huggingface_hub.ModelCard(card).data.to_dict() == facts
    assert 'Predictor.from_pretrained("' in card
