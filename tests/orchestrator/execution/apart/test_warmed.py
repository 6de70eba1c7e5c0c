"""What transformers does at the first load of a model, done before."""

import importlib

import pytest
from transformers import conversion_mapping

from orchestrator.execution.apart import warmed


def test_the_mapping_of_weights_is_there_before_a_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conversion_mapping, "_checkpoint_conversion_mapping_cache", None)
    importlib.reload(warmed)
    assert conversion_mapping._checkpoint_conversion_mapping_cache
