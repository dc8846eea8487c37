from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

from mbdcnn.config import Config, Section, Training, in_steps, load_config, save_config, shipped_configs
from mbdcnn.errors import UserError
from mbdcnn.system.yaml import option, read


def written(folder: Path, text: str) -> Path:
    file = folder / "settings.yaml"
    file.write_text(text)
    return file


def message(*overrides: str, source: str | Path | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load_config(source, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_flags_beat_the_file_and_the_file_beats_the_defaults(tmp_path: Path) -> None:
    file = written(tmp_path, "seed: 1\ncoarse: {training: {learning_rate: 0.5, batch_size: 3}}\n")
    config = load_config(file, ["coarse.training.batch_size=7", "cam=relu"])
    assert (config.seed, config.cam) == (1, "relu")
    assert config.coarse.training.learning_rate == 0.5
    assert config.coarse.training.batch_size == 7
    assert config.coarse.training.length == Config().coarse.training.length


def test_a_partial_section_keeps_the_defaults_of_its_own_network(tmp_path: Path) -> None:
    part = "{training: {batch_size: 4}}"
    config = load_config(written(tmp_path, f"coarse: {part}\nclassifier: {part}\nenhanced: {part}\n"))
    rates = [section.training.learning_rate for section in (config.coarse, config.classifier, config.enhanced)]
    assert rates == [1e-4, 1e-4, 5e-5]
    assert [section.training.precision for section in (config.coarse, config.classifier, config.enhanced)] == [
        "auto",
        "fp32",
        "auto",
    ]
    assert config.classifier.training.length == "50001 steps"
    assert config.classifier.augmentation.crop_probability == 0
    assert config.enhanced.training.batch_size == 4


def test_a_flag_changes_one_of_two_sections_that_share_a_yaml_anchor(tmp_path: Path) -> None:
    file = written(tmp_path, "coarse: {training: &same {batch_size: 4}}\nenhanced: {training: *same}\n")
    config = load_config(file, ["coarse.training.batch_size=6"])
    assert (config.coarse.training.batch_size, config.enhanced.training.batch_size) == (6, 4)


def test_a_file_may_build_on_another_or_on_one_that_ships(tmp_path: Path) -> None:
    compact = load_config("compact")
    file = written(tmp_path, "base: compact\nseed: 5\ncoarse: {training: {batch_size: 4}}\n")
    training = compact.coarse.training.model_copy(update={"batch_size": 4})
    coarse = compact.coarse.model_copy(update={"training": training})
    assert load_config(file) == compact.model_copy(update={"seed": 5, "coarse": coarse})
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "more.yaml").write_text("base: ../settings.yaml\nseed: 6\n")
    more = load_config(tmp_path / "inner" / "more.yaml")
    assert (more.seed, more.coarse) == (6, coarse)


def test_a_base_that_is_not_there_or_the_file_itself_is_told(tmp_path: Path) -> None:
    assert "nowhere.yaml: no such configuration" in message(source=written(tmp_path, "base: nowhere.yaml\n"))
    itself = written(tmp_path, "base: settings.yaml\n")
    assert "based on itself" in message(source=itself)


def test_unknown_keys_name_the_known_ones() -> None:
    assert "unknown key 'sed'; known here: classes, seed, cam" in message("sed=1")
    inner = message("enhanced.network.widht=1")
    assert "unknown key 'enhanced.network.widht'; known here: backbone, width, depth" in inner


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("coarse.training.learning_rate=0", "coarse.training.learning_rate"),
        ("coarse.training.learning_rate=.nan", "finite"),
        ("coarse.training.learning_rate=.inf", "finite"),
        ("coarse.training.length=10", "coarse.training.length"),
        ("coarse.training.length=0 epochs", "coarse.training.length"),
        ("coarse.training.batch_size=1", "batch norm"),
        ("coarse.augmentation.scale=[1.1, 0.9]", "smallest first"),
        ("enhanced.training.small_side=240", "enhanced.training.small_side: 240 is more than data.image_size"),
        ("coarse.augmentation.scale=[-1, 1]", "positive"),
        ("coarse.network.dilations=[0]", "dilations"),
        ("coarse.folds=1", "nothing to train on"),
        ("data.image_size=40", "multiple of 16"),
        ("data.image_size=wide", "integer"),
        ("data.image_size=128", "data.scales must hold data.image_size (128)"),
        ("data.views.fractions=[6]", "less than or equal to 5"),
        ("seed=-1", "seed"),
        ("seed=4294967296", "seed"),
        ("seed=[", "not YAML"),
        ("seed=2020-13-45", "not YAML"),
        ("seed", "expected KEY=VALUE"),
        ("coarse=", "coarse"),
        ("classes=[nevus]", "classes"),
        ("classes=[nevus, nevus]", "duplicate"),
        ("cam=none", "'reference', 'relu' or 'centred'"),
    ],
)
def test_wrong_values_are_told_in_one_line(override: str, part: str) -> None:
    assert part in message(override)


def test_several_mistakes_are_counted() -> None:
    assert "(and 1 more mistakes)" in message("seed=-1", "cam=none")


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"seed: [1", "not YAML"), (b"- 1\n- 2\n", "found list"), (b"just words", "found str"), (b"\xff\xfe\x00", "text")],
)
def test_unusable_files_are_named(tmp_path: Path, content: bytes, part: str) -> None:
    file = tmp_path / "broken.yaml"
    file.write_bytes(content)
    text = message(source=file)
    assert str(file) in text
    assert part in text


def test_missing_configuration_names_the_shipped_ones() -> None:
    assert "compact, demo, finetune, paper" in message(source="papper")


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "# nothing\n")) == Config()


@pytest.mark.parametrize("name", ["compact", "demo", "paper"])
def test_every_shipped_configuration_loads_and_survives_saving(name: str, tmp_path: Path) -> None:
    assert name in shipped_configs()
    config = load_config(name)
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path) == config


def test_the_papers_configuration_spells_out_every_default() -> None:
    from importlib import resources

    spelled = yaml.safe_load((resources.files("mbdcnn") / "configs" / "paper.yaml").read_text())
    assert load_config("paper") == Config()

    def keys(value: object) -> object:
        return {name: keys(inner) for name, inner in value.items()} if isinstance(value, dict) else None

    assert keys(spelled) == keys(Config().model_dump(mode="json"))


def test_the_papers_configuration_says_what_each_setting_means() -> None:
    from importlib import resources

    lines = (resources.files("mbdcnn") / "configs" / "paper.yaml").read_text().splitlines()
    comments = " ".join(line.strip().removeprefix("# ") for line in lines if line.strip().startswith("#"))

    def check(section: Section) -> None:
        for name, field in type(section).model_fields.items():
            if field.description:
                assert " ".join(field.description.split()) in comments, name
            if isinstance(value := getattr(section, name), Section):
                check(value)

    check(Config())


def test_configurations_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("duration", "steps"), [("1 epoch", 5), ("3 epochs", 15), ("7 steps", 7), ("1 step", 1), ("50001 steps", 50001)]
)
def test_durations_become_steps(duration: str, steps: int) -> None:
    assert in_steps(Training(length=duration).length, 5) == steps


def test_coarse_masks_and_calibration_share_their_folds() -> None:
    assert "coarse.folds (3) and calibration.folds (2) share networks; give one number" in message(
        "coarse.folds=3", "calibration.folds=2"
    )
    assert load_config(None, ["calibration.folds=2"]).coarse.folds == 0
    assert "folds: 1 would leave nothing" in message("calibration.folds=1")


@pytest.mark.parametrize(("written", "word"), [("no", "no"), ("on", "yes"), ("0", "0"), ("1.5", "1.5")])
def test_a_name_that_yaml_takes_for_something_else_is_to_be_quoted(tmp_path: Path, written: str, word: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(f"base: demo\nclasses: [{written}, other]\n")
    with pytest.raises(UserError, match=f'classes.0: YAML does not .* put quotes round each, such as "{word}"'):
        load_config(file)
    file.write_text(f'base: demo\nclasses: ["{word}", other]\n')
    assert load_config(file).classes == (word, "other")


@pytest.mark.parametrize(
    "value", ["malignant", "no", "a, b", "it's", "naïve", "", 8, ["0", "1"], ["a b", "no", "x: y"]]
)
def test_an_option_that_is_written_to_be_pasted_is_read_as_it_was_meant(value: object) -> None:
    words = shlex.split(option("some.key", value))
    assert words[0] == "--set"
    key, _, text = words[1].partition("=")
    assert (key, read(text, "pasted")) == ("some.key", value)
