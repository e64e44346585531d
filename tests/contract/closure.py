"""The dependency closure of a distribution of headrace: the distributions that its `pyproject.toml` leads to."""

from __future__ import annotations

import os
import tomllib
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from tests.contract.repository import ROOT

_OWN = {"headrace": ROOT / "sdk"} | {f"headrace-{path.name}": path for path in (ROOT / "services").iterdir()}


def closure(requirement: str) -> dict[NormalizedName, Distribution]:
    """Return everything that ``pip install`` brings for a requirement, except headrace's own distributions."""
    found: dict[NormalizedName, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    pending = [Requirement(requirement)]
    while pending:
        wanted = pending.pop()
        name = canonicalize_name(wanted.name)
        # An extra may add requirements to the distribution's own: follow each pair once.
        for extra in ("", *wanted.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                pending += [needed for needed in _requirements(name, extra) if _applies(needed, extra)]
        if name not in _OWN:
            found[name] = distribution(name)
    return found


def _requirements(name: str, extra: str) -> list[Requirement]:
    if name in _OWN:
        project = tomllib.loads((_OWN[name] / "pyproject.toml").read_text())["project"]
        lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    else:
        lines = distribution(name).requires or []
    return [Requirement(line) for line in lines]


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def lay_out(distributions: dict[NormalizedName, Distribution], directory: Path) -> None:
    """Create a folder from which exactly these distributions can be imported: it links to their installed files."""
    for package in distributions.values():
        for file in package.files or []:
            if ".." in file.parts or file.suffix == ".pyc":
                continue
            link = directory / file
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                os.symlink(file.locate(), link)
