"""Every remedy that a message names is there: settings, options, commands."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import mbdcnn
from mbdcnn.cli import VERBS, main, parse
from mbdcnn.config import Config, load_config

SOURCE = Path(mbdcnn.__file__).parent
STAGES = ("coarse", "classifier", "enhanced")
FOREIGN = {"--ntasks-per-node", "--colour", "--share"}
"""Options of srun, and properties of style sheets."""
FILES = (".safetensors", ".onnx", ".yaml", ".json", ".npy")
SECTION = f"(?<![\\w./{{-])(?:{'|'.join(Config.model_fields)})"
KEY = re.compile(SECTION + r"(?:\.[a-z_]+)+")
SETTING = re.compile(f"({SECTION}" + r"(?:\.[a-z_]+)*)=([\w.-]+)")
COMMAND = re.compile(r"(?:`|: |\n {4})mbdcnn ([^`\n;]+)")
ARGUMENTS = {
    "demo": [],
    "download": ["isic2017", "--to", "x"],
    "prepare": ["x", "y"],
    "train": ["coarse"],
    "masks": [],
    "bundle": [],
    "import-weights": ["x", "--out", "y"],
    "run": ["x", "y"],
    "evaluate": ["--data", "x"],
    "predict": ["x"],
    "export": [],
    "serve": [],
    "info": [],
}


def literals(file: Path) -> Iterator[str]:
    """Give the strings of a file but for its docstrings; what is filled in stands as `{name}`."""
    tree = ast.parse(file.read_text())
    skipped = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    skipped |= {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (
                part.value if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
                for part in node.values
            )
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def filled(text: str) -> Iterator[str]:
    """Put in every stage where one goes, a number for half a batch, and a word for all else."""
    text = text.replace("{sys.argv[0]}", "mbdcnn").replace("{half}", "8")
    text = re.sub(r"\{option\([^{}]*\)\}", "--set word", text)
    for stage in STAGES:
        yield re.sub(r"\{[^{}]*\}", "word", re.sub(r"\{(self\.)?stage\}", stage, text))


MESSAGES = sorted(
    {
        message
        for file in SOURCE.rglob("*.py")
        for text in literals(file)
        if " " in text or text.startswith("--")
        for message in filled(text)
    }
)


def options(verb: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit):
        parse([verb, "--help"])
    return set(re.findall(r"(?<!-)--[a-z][a-z-]*", capsys.readouterr().out))


def setting_at(key: str) -> object:
    section: object = Config()
    for name in key.split("."):
        section = getattr(section, name)
    return section


def test_every_setting_that_is_named_is_there() -> None:
    named = {key for message in MESSAGES for key in KEY.findall(message) if not message.endswith(FILES)}
    named = {key for key in named if not key.endswith(FILES)}
    assert {"coarse.training.batch_size", "enhanced.guidance_start", "calibration.folds", "data.scales"} <= named
    for key in named:
        setting_at(key)


def test_every_setting_that_is_given_a_value_takes_it() -> None:
    given = {pair for message in MESSAGES for pair in SETTING.findall(message)}
    assert ("calibration.folds", "0") in given
    assert ("runtime.device", "cpu") in given
    for key, value in given:
        load_config(None, [f"{key}={value.rstrip('.')}"])


def test_every_option_that_is_named_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    known = set().union(*(options(verb, capsys) for verb in VERBS)) | FOREIGN | {"--version"}
    named = {option for message in MESSAGES for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", message)}
    assert {"--set", "--allow-overlap", "--allow-training-images", "--overwrite", "--device"} <= named
    # `--head` is of `ray start`.
    assert named - {"--word", "--head"} <= known


def test_every_command_that_is_named_is_understood() -> None:
    commands = {command for message in MESSAGES for command in COMMAND.findall(message)}
    assert any(command.startswith("prepare") for command in commands)
    for command in commands:
        words = shlex.split(command)
        assert words[0] in VERBS
        parse(words if len(words) > 1 else [*words, *ARGUMENTS[words[0]]])


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_said_where_memory_is_out_is_taken(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = [verb, *ARGUMENTS[verb]]
    parsed = parse(given)
    for remedy in re.findall(r"--[^,]+?(?=,| or | to |$)", parsed.when_out_of_memory()):
        changed = parse([*given, *shlex.split(remedy)])
        if "--set" in remedy:
            config, before = changed.load(), parsed.load()
            assert config != before
            for stage in STAGES:
                assert getattr(config, stage).training.batch_size <= getattr(before, stage).training.batch_size
        else:
            assert changed.device == "cpu" != parsed.device
    assert "--" in parsed.when_out_of_memory() or "device" not in vars(parsed)


def test_a_gpu_without_room_ends_a_command_with_what_helps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class OutOfMemoryError(RuntimeError):
        """Called as torch calls its own."""

    def fail(self: object) -> None:
        raise OutOfMemoryError

    monkeypatch.setattr(VERBS["train"], "run", fail)
    with pytest.raises(SystemExit) as ended:
        main(["train", "classifier", "--config", "compact"])
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert "the GPU has too little memory; give --set classifier.training.batch_size=16, or --set runtime" in told
