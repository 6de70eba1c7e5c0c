"""Versions of Ray and Python, here and on the cluster: what cannot work, what may not. Pure.

A job runs by the cluster's Ray and Python; from here come only the code, as text, and requests.
"""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

PROJECT = "trsp-orchestrator"


@dataclass(frozen=True)
class Versions:
    """Of Ray and Python on one side; empty where that is not known."""

    ray: str = ""
    python: str = ""


@dataclass(frozen=True)
class Needs:
    """What the project's package asks for."""

    ray: str  # such as >=2.60,<3
    python: str


def project_needs() -> Needs:
    """Return what this project needs of both; nothing where it is not installed as a package."""
    try:
        listed = [Requirement(line) for line in requires(PROJECT) or ()]
        python = metadata(PROJECT)["Requires-Python"] or ""
    except PackageNotFoundError:
        return Needs("", "")
    ray = next((str(each.specifier) for each in listed if each.name == "ray"), "")
    return Needs(ray, python)


def cannot_work(there: Versions, url: str, needs: Needs) -> str:
    """Return why no job of ours can run on that cluster, and the cure; "" where nothing says so."""
    wrong = [
        f"{name} {version} (needed: {wanted})"
        for name, version, wanted in (
            ("Ray", there.ray, needs.ray),
            ("Python", there.python, needs.python),
        )
        if not _meets(version, wanted)
    ]
    if not wrong:
        return ""
    return (
        f"the cluster at {url} runs {' and '.join(wrong)}; start it from an environment in which "
        "this project is installed, on every node"
    )


def difference(here: Versions, there: Versions) -> str:
    """Return what differs and what that means, for people; "" for nothing.

    Of Python, the patch level makes no difference.
    """
    differ = []
    if there.ray and there.ray != here.ray:
        differ.append(f"Ray {there.ray} (here {here.ray})")
    if there.python and _minor(there.python) != _minor(here.python):
        differ.append(f"Python {there.python} (here {here.python})")
    if not differ:
        return ""
    return (
        f"warning: the cluster runs {' and '.join(differ)}, and the job by these; should it fail "
        "to import something, start the cluster from an environment like this one"
    )


def _meets(version: str, wanted: str) -> bool:
    """Whether a version is among the wanted ones; an unknown one is taken to be."""
    try:
        return not version or SpecifierSet(wanted).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return True


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]
