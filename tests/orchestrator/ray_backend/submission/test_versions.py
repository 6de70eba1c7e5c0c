"""Versions on both sides of a submission."""

import pytest

from orchestrator.ray_backend.submission.versions import (
    Needs,
    Versions,
    cannot_work,
    difference,
    project_needs,
)

NEEDS = Needs(">=2.60,<3", ">=3.11")
HERE = Versions("2.60.0", "3.11.2")


@pytest.mark.parametrize(
    ("there", "named"),
    [
        (Versions("2.9.3", "3.11.2"), "Ray 2.9.3 (needed: >=2.60,<3)"),
        (Versions("3.0.0", "3.11.2"), "Ray 3.0.0"),
        (Versions("2.60.0", "3.9.18"), "Python 3.9.18 (needed: >=3.11)"),
        (Versions("2.9.3", "3.9.18"), "Ray 2.9.3 (needed: >=2.60,<3) and Python 3.9.18"),
    ],
)
def test_what_cannot_run_this_project_is_refused(there: Versions, named: str) -> None:
    assert named in cannot_work(there, "http://head:8265", NEEDS)


@pytest.mark.parametrize(
    "there",
    [
        HERE,
        Versions("2.60.1", "3.13.0"),
        Versions("3.0.0.dev0", ""),
        Versions(),
        Versions("nightly"),
    ],
)
def test_what_may_work_or_is_not_known_is_not_refused(there: Versions) -> None:
    assert cannot_work(there, "http://head:8265", Needs(">=2.60", ">=3.11")) == ""


def test_a_difference_is_told_with_what_is_here() -> None:
    told = difference(HERE, Versions("2.61.0", "3.12.1"))
    assert "Ray 2.61.0 (here 2.60.0) and Python 3.12.1 (here 3.11.2)" in told


@pytest.mark.parametrize("there", [HERE, Versions("2.60.0", "3.11.9"), Versions()])
def test_patches_of_python_and_what_is_not_known_make_no_difference(there: Versions) -> None:
    assert difference(HERE, there) == ""


def test_what_is_needed_is_what_the_package_says() -> None:
    assert project_needs() == Needs("<3,>=2.60", ">=3.11")
