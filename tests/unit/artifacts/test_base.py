from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st

from mbdcnn.artifacts import Artifact, Bundle, MaskSet, PreparedData, Run, draft_path
from mbdcnn.errors import UserError

SETTINGS = {"width": 1}
INPUTS = {"data": "abc"}


def write(path: Path, text: str = "content", settings: dict[str, int] = SETTINGS, **options: bool) -> Run:
    with Run.writing(path, settings, INPUTS, **options) as draft:
        (draft.path / "weights.bin").write_text(text)
        (draft.path / "notes").mkdir(exist_ok=True)
        draft.facts["images"] = 3
    return Run.open(path)


def write_half(path: Path, **options: bool) -> None:
    with Run.writing(path, {}, {}, **options) as draft:
        (draft.path / "weights.bin").write_text("half")
        raise KeyboardInterrupt


def edit(path: Path, change: Callable[[dict], object]) -> None:
    file = path / Run.filename
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def message(path: Path, kind: type[Artifact] = Run, **options: bool) -> str:
    with pytest.raises(UserError) as caught:
        kind.open(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def leftovers(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_what_is_written_opens_again_and_nothing_else_is_left(tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    assert (run.provenance.settings, run.provenance.inputs, run.provenance.facts) == (SETTINGS, INPUTS, {"images": 3})
    assert run.provenance.files.keys() == {"weights.bin"}
    assert leftovers(tmp_path) == {"run"}


def test_an_error_while_writing_leaves_the_earlier_one_whole(tmp_path: Path) -> None:
    before = write(tmp_path / "run", "earlier")
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / "run")
    after = Run.open(tmp_path / "run", verify=True)
    assert after.provenance == before.provenance
    assert leftovers(tmp_path) == {"run"}


def test_a_draft_is_no_artefact(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / "run", keep=True)
    assert leftovers(tmp_path) == {draft_path(tmp_path / "run").name}
    assert "no such Run folder" in message(tmp_path / "run")
    assert "run.json is missing" in message(draft_path(tmp_path / "run"))
    assert not Run.is_current(draft_path(tmp_path / "run"), {}, {})


def test_a_draft_goes_on_only_where_asked_to(tmp_path: Path) -> None:
    for keep, expected in ((True, True), (False, False)):
        draft_path(tmp_path / "run").mkdir()
        (draft_path(tmp_path / "run") / "earlier.txt").write_text("work")
        run = write(tmp_path / "run", keep=keep)
        assert (run.path / "earlier.txt").exists() is expected


def test_replacing_leaves_no_file_of_the_old_one(tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    (run.path / "stray.txt").write_text("old")
    assert write(tmp_path / "run", "new").provenance.fingerprint != run.provenance.fingerprint
    assert not (tmp_path / "run" / "stray.txt").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "other artefact"])
def test_a_foreign_thing_is_never_replaced(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "mine"
    if kind == "file":
        target.write_text("dear diary")
    elif kind == "folder":
        target.mkdir()
        (target / "thesis.tex").write_text("dear diary")
    else:
        with MaskSet.writing(target, {}, {}):
            pass
    with pytest.raises(UserError, match="is not a Run folder; choose another place"):
        write(target)
    assert target.exists()
    assert leftovers(tmp_path) == {"mine"}


def test_an_empty_folder_and_a_missing_parent_are_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")
    write(tmp_path / "new" / "run")


def test_the_folder_one_is_in_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="the folder you are in"):
        write(Path("."))


def test_a_link_keeps_pointing_to_what_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk" / "run")
    for text in ("first", "second"):
        write(tmp_path / "run", text)
        assert (tmp_path / "run").is_symlink()
        assert (tmp_path / "disk" / "run" / "weights.bin").read_text() == text
        assert leftovers(tmp_path / "disk") == {"run"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    (run.path / "weights.bin").unlink()
    assert "weights.bin is missing" in message(run.path)


def test_a_folder_of_another_kind_or_above_is_told(tmp_path: Path) -> None:
    write(tmp_path / "out" / "run")
    assert f"({Run.filename} is missing); there is one in it: {tmp_path / 'out' / 'run'}" in message(tmp_path / "out")
    assert "not a PreparedData folder (prepared.json is missing), but a Run folder" in message(
        tmp_path / "out" / "run", PreparedData
    )


def test_a_changed_file_is_found_by_its_checksum(tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    (run.path / "weights.bin").write_text("CONTENT")
    Run.open(run.path)
    assert "checksum" in message(run.path, verify=True)


def test_a_model_card_may_be_edited(tmp_path: Path) -> None:
    with Bundle.writing(tmp_path / "bundle", {}, {}) as draft:
        (draft.path / "README.md").write_text("card")
    (tmp_path / "bundle" / "README.md").write_text("a better card")
    Bundle.open(tmp_path / "bundle", verify=True)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "notes/../weights.bin", "..", ".", "", "notes"])
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    run = write(tmp_path / "run")
    (tmp_path / "secret").write_text("x")
    edit(run.path, lambda content: content["files"].update({name: "0"}))
    assert "damaged Run" in message(run.path)


@pytest.mark.parametrize("content", ["", "{", "nonsense", "[" * 100_000, b"\xff\xff"])
def test_what_is_not_json_is_told(tmp_path: Path, content: str | bytes) -> None:
    run = write(tmp_path / "run")
    (run.path / Run.filename).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert "not JSON" in message(run.path)


@pytest.mark.parametrize("content", ["[]", "3", "null", "{}", '{"model_type": "bert"}', '{"version": 1}'])
def test_json_of_something_else_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / Run.filename).write_text(content)
    assert "not written by mbdcnn" in message(tmp_path)


def test_the_wrong_kind_and_version_are_told_before_unknown_keys(tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    edit(run.path, lambda content: content.update(version=99, news="yes"))
    assert "Run format 99, this is mbdcnn" in message(run.path)
    edit(run.path, lambda content: content.update(kind="MaskSet"))
    assert "a MaskSet folder where a Run is needed" in message(run.path)


def test_unknown_and_missing_keys_are_told(tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    edit(run.path, lambda content: content.update(news="yes"))
    assert "unknown key 'news'" in message(run.path)
    edit(run.path, lambda content: (content.pop("news"), content.pop("identity")))
    assert "identity: Field required" in message(run.path)


def test_only_the_same_settings_inputs_and_version_are_current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "run").path
    assert Run.is_current(path, SETTINGS, INPUTS)
    assert not Run.is_current(path, {"width": 2}, INPUTS)
    assert not Run.is_current(path, SETTINGS, {"data": "abd"})
    assert not Run.is_current(path, SETTINGS, {})
    assert not MaskSet.is_current(path, SETTINGS, INPUTS)
    monkeypatch.setattr(Run, "version", 2)
    assert not Run.is_current(path, SETTINGS, INPUTS)


def test_the_fingerprint_is_of_content_and_the_identity_of_what_it_was_made_from(tmp_path: Path) -> None:
    first, again = write(tmp_path / "a").provenance, write(tmp_path / "b").provenance
    other = write(tmp_path / "c", "other").provenance
    assert first.fingerprint == again.fingerprint
    assert first.identity == other.identity
    assert first.fingerprint != other.fingerprint


text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)
