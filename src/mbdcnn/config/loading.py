"""Configurations read from files and flags, and written."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from mbdcnn.config.classes import with_classes
from mbdcnn.config.experiment import Config
from mbdcnn.errors import UserError
from mbdcnn.system import yaml as plain_yaml

Model = TypeVar("Model", bound=BaseModel)
BUNDLED = "bundled"
"""Name of the model that comes with the package, wherever a model, a configuration or starting weights are named."""
RENAMED = {"committee": "ensemble"}
"""Settings by the names they had before 0.1.0, which files of then hold."""


def load_config(source: str | Path | None = None, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Read a configuration: defaults, overridden by a YAML file, overridden by `KEY=VALUE` flags.

    Args:
        source: name of a configuration that ships with the package (`paper`, `compact`, `finetune`, `demo`; `bundled`
            for that of the shipped model), a YAML file, or a run or bundle folder whose configuration is used again.
            None for the defaults. A file may name another of these, relative to itself, as `base`, whose settings hold
            where it says nothing.
        overrides: dotted settings such as `coarse.training.length=10 epochs`; values are YAML.

    Raises:
        UserError: a file is missing or not YAML, a key unknown, a value out of range, or a class named that is not
            among those given.
    """
    name, settings = ("defaults", {}) if source is None else _read_yaml(source)
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise UserError(f"--set {override}: expected KEY=VALUE, such as coarse.training.batch_size=8")
        _assign(settings, RENAMED.get(key, key).split("."), plain_yaml.read(value, f"--set {override}"))
    config = parse(Config, _merge(Config().model_dump(mode="json", exclude={"classes"}), settings), name)
    return with_classes(config, config.classes) if config.classes_given else config


def parse(model: type[Model], settings: Any, name: str) -> Model:
    """Validate settings, naming the place and the known keys in one line where they are wrong.

    Raises:
        UserError: what is wrong first, and how many more mistakes there are.
    """
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise UserError(f"{name}: {_first_mistake(model, error)}") from None


def save_config(config: Config, path: Path) -> None:
    """Write every setting as YAML."""
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def shipped_configs() -> list[str]:
    """Names of the configurations that come with the package."""
    folder = resources.files("mbdcnn") / "configs"
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def bundled_folder() -> Path:
    """Give the folder that `bundled` names.

    Raises:
        UserError: there is a model in a folder of that name here.
    """
    if os.path.isfile(os.path.join(BUNDLED, "config.yaml")):
        raise UserError(
            f"{BUNDLED}: names the model that comes with mbdcnn, but there is one in a folder here too; name that one "
            f"{os.path.abspath(BUNDLED)}"
        )
    return Path(str(resources.files("mbdcnn") / BUNDLED))


def _read_yaml(source: str | Path, above: tuple[str, ...] = ()) -> tuple[str, dict[str, Any]]:
    if str(source) in above:
        raise UserError(f"{source}: based on itself, by way of {', '.join(above)}")
    # Not Path's own questions, which raise an error where a name is too long.
    given = bundled_folder() if str(source) == BUNDLED else source
    path, is_folder = Path(given), os.path.isdir(given)
    if is_folder:
        path = path / "config.yaml"
    if path.suffix in {".yaml", ".yml"} and os.path.isfile(path):
        settings = plain_yaml.read_file(path) or {}
    elif str(source) in shipped_configs():
        text = (resources.files("mbdcnn") / "configs" / f"{source}.yaml").read_text()
        settings = plain_yaml.read(text, str(source)) or {}
        # Those of paper.yaml are the defaults, spelled out.
        settings.pop("classes", None)
    else:
        known = ", ".join([*shipped_configs(), BUNDLED])
        raise UserError(f"{source}: no such configuration; give a YAML file or one of {known}")
    if not isinstance(settings, dict):
        raise UserError(f"{source}: expected settings such as 'seed: 1', found {type(settings).__name__}")
    settings = {RENAMED.get(key, key): value for key, value in settings.items()}
    base = settings.pop("base", None)
    if base is None:
        return str(source), settings
    if is_folder:
        raise UserError(f"{path}: names a base, but must be whole: its checksum covers this file alone")
    beside = path.parent / str(base)
    _, below = _read_yaml(beside.resolve() if os.path.exists(beside) else str(base), (*above, str(source)))
    return str(source), _merge(below, settings)


def _merge(defaults: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    merged = dict(defaults)
    for key, value in settings.items():
        inner = merged.get(key)
        merged[key] = _merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def _assign(settings: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        inner = settings.get(key)
        settings[key] = settings = dict(inner) if isinstance(inner, dict) else {}
    settings[keys[-1]] = value


def _first_mistake(model: type[BaseModel], error: ValidationError) -> str:
    mistakes = error.errors()
    first = mistakes[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(_section_at(model, first["loc"][:-1]).model_fields)
        text = f"unknown key '{place}'; known here: {known}"
    else:
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "string_type" and (word := plain_yaml.quoted(first["input"])):
            message = f"YAML does not take yes, no, on, off and numbers for text; put quotes round each, such as {word}"
        text = f"{place}: {message}" if place else message
    return text + (f" (and {len(mistakes) - 1} more mistakes)" if len(mistakes) > 1 else "")


def _section_at(model: type[BaseModel], location: tuple[str | int, ...]) -> type[BaseModel]:
    for part in location:
        inner = model.model_fields[str(part)].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return model
