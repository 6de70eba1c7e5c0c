"""Loads saved checkpoints as a stranger would: transformers alone, nothing of ours. Run by test_families.

Usage: fresh_process.py CHECKPOINTS EXPECTED. For every folder CHECKPOINTS/NAME, EXPECTED/NAME.safetensors holds input_ids
[B, T] and the logits [B, T, V] wanted. Prints one JSON object: NAME -> what was seen.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

NEW_TOKENS = 12


def look(checkpoint: Path, expected: Path) -> dict[str, Any]:
    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    wanted = load_file(expected)
    with torch.no_grad():
        logits = model(wanted["input_ids"]).logits
    generated = {
        cached: model.generate(
            wanted["input_ids"][:1, :10],
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
            use_cache=cached,
        ).tolist()
        for cached in (True, False)
    }
    return {
        "difference": (logits - wanted["logits"]).abs().max().item(),
        "with_cache": generated[True],
        "without_cache": generated[False],
        "dtype": str(model.dtype),
        "tied": model.get_output_embeddings().weight is model.get_input_embeddings().weight,
        "layers": model.config.num_hidden_layers,
        "text": tokenizer.decode(tokenizer("a river", add_special_tokens=False).input_ids),
    }


if __name__ == "__main__":
    checkpoints, expected = map(Path, sys.argv[1:])
    seen = {
        folder.name: look(folder, expected / f"{folder.name}.safetensors")
        for folder in sorted(checkpoints.iterdir())
    }
    assert not any(name.split(".")[0] in {"trsp", "orchestrator"} for name in sys.modules), (
        "must load without our packages"
    )
    print(json.dumps(seen))
