"""What to install where a library of an optional part of the package is missing."""

from __future__ import annotations

import re
from importlib import metadata

from mbdcnn.errors import UserError

_REQUIREMENT = re.compile(r"""([\w.-]+)[^;]*;.*\bextra == ['"](\w+)['"]""")


def extra_of(module: str) -> str | None:
    """Name the extra that brings a module; None if none does."""
    name = module.partition(".")[0].replace("_", "-").lower()
    return next((extra for extra, packages in _extras().items() if name in packages), None)


def not_installed(what: str, extra: str) -> UserError:
    """Say what is missing for something and how to get it, from any package index: none need hold this package."""
    packages = _extras().get(extra, {})
    missing = {name: wanted for name, wanted in packages.items() if installed_version(name) is None} or packages
    if not missing:
        return UserError(f"{what}: needs the extra `{extra}`; in a clone of mbdcnn: pip install '.[{extra}]'")
    wanted = " ".join(f"'{requirement}'" for requirement in missing.values())
    return UserError(f"{what}: {', '.join(missing)} not installed (the extra `{extra}`); pip install {wanted}")


def _extras() -> dict[str, dict[str, str]]:
    """Give each extra's packages, by name, with what is required of them, as this installation was told."""
    try:
        requirements = metadata.requires("mbdcnn") or []
    except metadata.PackageNotFoundError:
        return {}
    extras: dict[str, dict[str, str]] = {}
    for requirement in requirements:
        found = _REQUIREMENT.match(requirement)
        if found and found[2] != "dev":
            extras.setdefault(found[2], {})[found[1].lower()] = requirement.partition(";")[0].strip()
    return extras


def installed_version(package: str) -> str | None:
    """Give the version of a package; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
