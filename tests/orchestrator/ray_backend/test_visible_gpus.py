"""Which GPUs a worker of ours sees."""

import os
from types import SimpleNamespace

import pytest

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
