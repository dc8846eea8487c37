"""Models by their name on the Hugging Face hub: a bundle is a folder of it as it is. Needs the extra `hub`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from mbdcnn._version import __version__
from mbdcnn.artifacts import EDITABLE, Bundle
from mbdcnn.artifacts.builtin import find_bundle
from mbdcnn.errors import UserError
from mbdcnn.system.extras import not_installed

NAME = re.compile(r"[\w.-]+/[\w.-]+")
WANTED = ("config.json", "config.yaml", "ids.json", "*.safetensors", *EDITABLE)
"""All that a bundle holds, whatever else lies in its folder on the hub."""


def find_model(name: str | Path, revision: str | None = None) -> Path:
    """Give a folder as it is, or fetch what has this name on the hub into its cache.

    Args:
        name: a folder, `bundled` for the model that comes with the package, or a name such as `owner/name`.
        revision: branch, tag or commit on the hub; the newest if not given.

    Raises:
        UserError: there is no such folder and no such name, the hub cannot be reached, or the extra is missing.
    """
    folder = find_bundle(name)
    if folder.is_dir():
        if revision is not None:
            raise UserError(f"{name}: a folder, which has no revision {revision}; leave out the revision")
        return folder
    if not NAME.fullmatch(str(name)):
        raise UserError(f"{name}: no such folder, and no name on the hub such as owner/name")
    hub = _hub(str(name))
    with _as_user_error(str(name), revision):
        return Path(hub.snapshot_download(str(name), revision=revision, allow_patterns=list(WANTED)))


def push_model(bundle: Bundle, name: str, *, private: bool = True) -> str:
    """Put a bundle on the hub and give its revision there, the commit.

    Args:
        bundle: the model.
        name: `owner/name`; made if it is not there.
        private: who may see it, if it is made.

    Raises:
        UserError: the hub cannot be reached or does not let you, or the extra is missing.
    """
    if not NAME.fullmatch(name):
        raise UserError(f"{name}: no name on the hub such as owner/name")
    api = _hub(name).HfApi()
    message = f"Model {bundle.provenance.fingerprint[:12]}, by mbdcnn {__version__}"
    files = sorted({*bundle.provenance.files, bundle.filename, *EDITABLE})
    with _as_user_error(name):
        api.create_repo(name, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=name, folder_path=bundle.path, allow_patterns=files, commit_message=message)
    return str(commit.oid)


def _hub(name: str) -> ModuleType:
    try:
        import huggingface_hub
    except ImportError:
        raise not_installed(f"{name}: no such folder, and for a model on the hub", "hub") from None
    return huggingface_hub


@contextmanager
def _as_user_error(name: str, revision: str | None = None) -> Iterator[None]:
    try:
        yield
    # The hub's own errors, and those of an HTTP library that is another one in each of its versions.
    except Exception as error:
        what = name if revision is None else f"{name} at revision {revision}"
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(
            f"{what}: not reached on the Hugging Face hub; is the name right, the network there, and are you logged in "
            f"if it is private (hf auth login)? {reason}"
        ) from None
