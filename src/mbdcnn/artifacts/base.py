"""The folders that pass between stages: what they hold, how they were made, and whether they are whole.

A folder is written beside its final place and renamed when complete, so a half-written one is never met.
Its JSON file says what it is, from which settings and inputs it was made, and the checksum of each file.
Importing this module does not import torch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Self

from mbdcnn._version import __version__
from mbdcnn.artifacts.provenance import Provenance, file_digest, fingerprint, tools
from mbdcnn.config import parse
from mbdcnn.errors import UserError
from mbdcnn.system.files import disk_errors_as_user_errors, exclusive, make_folder, replace_folder

EDITABLE = {"README.md"}
"""Files of an artefact that may be changed later: a hub folder's model card is there to be written on."""


@dataclass(frozen=True)
class Artifact:
    """A validated folder."""

    path: Path
    provenance: Provenance

    filename: ClassVar[str]
    version: ClassVar[int]

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> Self:
        """Validate a folder and give access to it.

        Args:
            path: the folder.
            verify: also compare every checksum, and that of the list of checksums.

        Raises:
            UserError: it is not a complete, untouched folder of this kind and version.
        """
        path = Path(path)
        if not path.is_dir():
            raise UserError(f"{path}: no such {cls.__name__} folder")
        provenance = cls._read(path)
        if verify and provenance.fingerprint != fingerprint(
            [cls.identity_of(provenance.settings, provenance.inputs), provenance.files]
        ):
            raise UserError(f"{path / cls.filename}: damaged: its content and its fingerprint differ; make it again")
        for name, digest in provenance.files.items():
            file = path / name
            if Path(name).name != name or not file.is_file():
                raise UserError(f"{path}: damaged {cls.__name__}: {name} is missing; make it again")
            if verify and file_digest(file) != digest:
                raise UserError(f"{file}: damaged: its checksum is not the one in {cls.filename}; make it again")
        return cls(path, provenance)

    @classmethod
    def _read(cls, path: Path) -> Provenance:
        file = path / cls.filename
        if not file.is_file():
            raise UserError(f"{path}: not a {cls.__name__} folder ({cls.filename} is missing){cls._instead(path)}")
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            raise UserError(f"{file}: not JSON; make the folder again") from None
        if not isinstance(content, dict) or not {"kind", "version"} <= content.keys():
            raise UserError(f"{file}: not written by mbdcnn; name a {cls.__name__} folder")
        # Before all else, because another version may hold other keys.
        if content["kind"] != cls.__name__:
            raise UserError(f"{path}: a {content['kind']} folder where a {cls.__name__} is needed")
        if content["version"] != cls.version:
            raise UserError(
                f"{path}: {cls.__name__} format {content['version']}, this is mbdcnn {__version__} with "
                f"format {cls.version}; make it again"
            )
        return parse(Provenance, content, str(file))

    @classmethod
    def _instead(cls, path: Path) -> str:
        """Say what the folder is, or which one in it is meant."""
        kinds = (kind for above in Artifact.__subclasses__() for kind in (above, *above.__subclasses__()))
        for kind in kinds:
            if hasattr(kind, "filename") and (path / kind.filename).is_file():
                return f", but a {kind.__name__} folder"
        inner = sorted(path.glob(f"*/{cls.filename}"))
        return f"; there is one in it: {inner[0].parent}" if inner else ""

    @classmethod
    def identity_of(cls, settings: dict[str, Any], inputs: dict[str, str]) -> str:
        """Fingerprint of what an artefact of this version would be made from."""
        return fingerprint([cls.__name__, cls.version, settings, inputs])

    @classmethod
    def is_current(cls, path: Path, settings: dict[str, Any], inputs: dict[str, str]) -> bool:
        """Say whether a whole folder made from just these settings and inputs lies at `path`."""
        try:
            return cls.open(path).provenance.identity == cls.identity_of(settings, inputs)
        except UserError:
            return False

    @classmethod
    @contextmanager
    def writing(
        cls,
        path: Path,
        settings: dict[str, Any],
        inputs: dict[str, str],
        *,
        keep: bool = False,
        overwrite: bool = True,
    ) -> Iterator[Draft]:
        """Give a draft folder beside `path` that takes its place once the block ends without an error.

        Args:
            path: where the artefact will lie.
            settings: what it is made with.
            inputs: fingerprints of what it is made from.
            keep: continue an earlier draft and keep this one on error, for work that can resume.
            overwrite: replace an artefact of the same kind at `path`.

        Raises:
            UserError: something else lies at `path`, or without `overwrite` anything finished; another process is
                writing it, or the disk is full or cannot be written.
        """
        cls._check_replaceable(path)
        if not overwrite:
            cls.check_free(path)
        draft = Draft(draft_path(path))
        with exclusive(path.resolve()), disk_errors_as_user_errors(path, kept=keep):
            if not keep:
                shutil.rmtree(draft.path, ignore_errors=True)
            make_folder(draft.path)
            try:
                yield draft
                cls._seal(draft, settings, inputs)
            except BaseException:
                if not keep:
                    shutil.rmtree(draft.path, ignore_errors=True)
                raise
            replace_folder(path.resolve(), draft.path)

    def copy_to(self, path: str | Path) -> Self:
        """Copy the folder to `path`, where an artefact of the same kind is replaced.

        Raises:
            UserError: something else lies there, or the disk is full or cannot be written.
        """
        path, draft = Path(path), draft_path(Path(path))
        self._check_replaceable(path)
        with exclusive(path.resolve()), disk_errors_as_user_errors(path):
            shutil.rmtree(draft, ignore_errors=True)
            try:
                # Without what others keep in hidden folders, such as the hub's tools.
                shutil.copytree(self.path, draft, ignore=shutil.ignore_patterns(".*"))
                replace_folder(path.resolve(), draft)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
        return self.open(path, verify=True)

    @classmethod
    def check_free(cls, path: Path) -> None:
        """Raise a UserError where something finished lies, which would be replaced."""
        if (path / cls.filename).is_file():
            raise UserError(
                f"{path}: a finished {cls.__name__} of other settings or sources lies there; name another folder, or "
                "give --overwrite to replace it"
            )

    @classmethod
    def _check_replaceable(cls, path: Path) -> None:
        if path.resolve() == Path.cwd():
            raise UserError(f"{path}: the folder you are in; name a new folder, which will be made whole")
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            return
        if not path.is_dir() or not (path / cls.filename).is_file():
            raise UserError(f"{path}: exists and is not a {cls.__name__} folder; choose another place or remove it")

    @classmethod
    def _seal(cls, draft: Draft, settings: dict[str, Any], inputs: dict[str, str]) -> None:
        identity = cls.identity_of(settings, inputs)
        names = {file.name for file in draft.path.iterdir() if file.is_file()} - {cls.filename, *EDITABLE}
        files = {name: file_digest(draft.path / name) for name in sorted(names)}
        provenance = Provenance(
            kind=cls.__name__,
            version=cls.version,
            identity=identity,
            fingerprint=fingerprint([identity, files]),
            settings=settings,
            inputs=inputs,
            facts=draft.facts,
            files=files,
            tools=tools(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        (draft.path / cls.filename).write_text(provenance.as_json(), encoding="utf-8")


@dataclass
class Draft:
    """A folder being written."""

    path: Path
    facts: dict[str, Any] = field(default_factory=dict)
    """What will be recorded of the result, such as counts and scores."""


def draft_path(path: Path) -> Path:
    """Where an artefact is written before it is complete: beside it, or beside what a link there points to."""
    return path.resolve().with_name(f".{path.resolve().name}.partial")
