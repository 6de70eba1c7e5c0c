"""What transformers does at the first load of a model, done before."""

import importlib

from transformers import conversion_mapping

from trsp.checkpoints import warmed


def test_the_mapping_of_weights_is_made_once_and_for_all() -> None:
    conversion_mapping._build_checkpoint_conversion_mapping.cache_clear()
    importlib.reload(warmed)
    conversion_mapping.get_checkpoint_conversion_mapping("gemma3_text")
    assert conversion_mapping._build_checkpoint_conversion_mapping.cache_info().misses == 1
