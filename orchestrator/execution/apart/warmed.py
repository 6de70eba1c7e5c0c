"""Importing this does what transformers else does at the first load of a model in each process.

That is to compile a thousand regular expressions, once for all families: a quarter of a second.
Where a version of transformers does it otherwise, nothing is lost but that.
"""

from contextlib import suppress

with suppress(Exception):
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    get_checkpoint_conversion_mapping("llama")
