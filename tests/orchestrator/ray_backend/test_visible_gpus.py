"""Which GPUs a worker sees, and how Ray is asked for GPUs of one type."""

import os
from types import SimpleNamespace

import pytest

from orchestrator.layouts.layout import Layout
from orchestrator.ray_backend.gang import _rank_resources
from orchestrator.ray_backend.visible_gpus import VARIABLES, hide_gpus_of_others


@pytest.mark.parametrize(("given", "visible"), [([], ""), (["3"], "3,4")])
def test_a_process_that_was_given_no_gpu_sees_none(
    given: list[str], visible: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray hides nothing from it, so that it would compute on the first of all."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "3,4")
    context = SimpleNamespace(get_accelerator_ids=lambda: {"GPU": given, "TPU": []})
    monkeypatch.setattr("ray.get_runtime_context", lambda: context)
    hide_gpus_of_others()
    assert {os.environ[name] for name in VARIABLES} == {visible}


def test_each_rank_of_a_gang_asks_for_the_type_of_its_gpus() -> None:
    asked = _rank_resources(Layout(ranks=2, gpus=1, gpu_type="H100"))
    assert asked == {"CPU": 1.0, "GPU": 1.0, "accelerator_type:H100": 0.001}
    assert _rank_resources(Layout(ranks=2, gpus=1)) == {"CPU": 1.0, "GPU": 1.0}
