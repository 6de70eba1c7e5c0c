"""Loads saved checkpoints as a stranger would: transformers alone, nothing of ours.

Run by test_families. Reads two lines once it has imported what it needs: the folders CHECKPOINTS
and EXPECTED. For every CHECKPOINTS/NAME, EXPECTED/NAME.safetensors holds input_ids [B, T] and the
expected logits [B, T, V]. Prints one JSON object: NAME -> what was seen.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

NEW_TOKENS = 12


def generated(model: PreTrainedModel, input_ids: Tensor, cached: bool) -> Any:
    """Return ten tokens and the NEW_TOKENS that the model adds greedily, [1, T] as a list."""
    return model.generate(
        input_ids[:1, :10],
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        do_sample=False,
        use_cache=cached,
    ).tolist()


def look(checkpoint: Path, expected: Path) -> dict[str, Any]:
    """Load one checkpoint; return its logits' difference, its texts and what it says of itself."""
    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tensors = load_file(expected)
    with torch.no_grad():
        logits = model(tensors["input_ids"]).logits
    return {
        "difference": (logits - tensors["logits"]).abs().max().item(),
        "with_cache": generated(model, tensors["input_ids"], cached=True),
        "without_cache": generated(model, tensors["input_ids"], cached=False),
        "dtype": str(model.dtype),
        "tied": model.get_output_embeddings().weight is model.get_input_embeddings().weight,
        "layers": model.config.num_hidden_layers,
        "text": tokenizer.decode(tokenizer("a river", add_special_tokens=False).input_ids),
    }


if __name__ == "__main__":
    checkpoints, expected = (Path(line.strip()) for line in sys.stdin)
    seen = {
        folder.name: look(folder, expected / f"{folder.name}.safetensors")
        for folder in sorted(checkpoints.iterdir())
    }
    assert not any(name.split(".")[0] in {"trsp", "orchestrator"} for name in sys.modules), (
        "must load without our packages"
    )
    print(json.dumps(seen))
