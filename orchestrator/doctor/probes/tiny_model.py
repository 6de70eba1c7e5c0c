"""A tiny random llama with a tokenizer of bytes and a tiny text, made on the spot without torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.grid.schema import Grid

LAYERS, HIDDEN, INTERMEDIATE, HEADS, KV_HEADS = 4, 32, 48, 4, 2
SPECIAL = ("<pad>", "<bos>", "<eos>")
VOCABULARY = 264  # bytes and special tokens, padded to a multiple of 8
CONFIG: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "dtype": "float32",
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
    "pad_token_id": 256,
    "bos_token_id": 257,
    "eos_token_id": 258,
}
_MODEL, _TEXT = "model", "text.jsonl"


def tiny_files() -> dict[str, bytes]:
    """Return the model's folder and the text, by their paths below one folder."""
    from safetensors.numpy import save

    texts = (
        {"text": f"{i} green bottles hang on the wall number {i % 7}. " * 6} for i in range(48)
    )
    return {
        f"{_MODEL}/config.json": json.dumps(dict(CONFIG)).encode(),
        f"{_MODEL}/model.safetensors": save(_weights(), metadata={"format": "pt"}),
        f"{_MODEL}/tokenizer.json": _tokenizer().encode(),
        f"{_MODEL}/tokenizer_config.json": json.dumps(_TOKENIZER_CONFIG).encode(),
        _TEXT: "".join(json.dumps(text) + "\n" for text in texts).encode(),
    }


def write_files(files: Mapping[str, bytes], folder: str) -> None:
    """Write files below a folder of this machine, which is made."""
    for name, content in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def tiny_grid(folder: str, store: str) -> Grid:
    """Return a grid of one cell on the files in ``folder``: every stage, as small as can be."""
    text = {"name": "tiny", "path": f"{folder}/{_TEXT}"}
    training = {"blocks_per_step": 2, "learning_rate": 1e-3}
    return Grid.model_validate(
        {
            "name": "doctor",
            "models": {"name": "tiny", "source": f"{folder}/{_MODEL}"},
            "selectors": {"name": "gates", "steps_per_round": 2, **training},
            "ratios": 0.25,
            "gate_l1": 0.01,
            "drift": 0.1,
            "transfer": {"name": "drift", "steps": 2, **training},
            "calibration": {"text": text, "blocks": 4, "block_tokens": 32},
            "evaluation": {"perplexity": [{"text": text, "window_tokens": 32, "max_windows": 4}]},
            "measurement": {
                "protocol": "small",
                "prompt_tokens": 16,
                "prompt_repeats": 1,
                "generate_batch": 1,
                "generate_prompt_tokens": 4,
                "generate_new_tokens": 4,
                "generate_repeats": 1,
            },
            "storage": {"store": store},
        }
    )


def _weights() -> dict[str, Any]:
    """Return random weights of the model, the same at every call, by their names."""
    import numpy as np

    random = np.random.default_rng(0)
    shapes = {"embed_tokens": (VOCABULARY, HIDDEN)}
    shapes |= {f"layers.{i}.{name}": shape for i in range(LAYERS) for name, shape in _LAYER.items()}
    weights = {
        f"model.{name}.weight": (0.15 * random.standard_normal(shape)).astype(np.float32)
        for name, shape in shapes.items()
    }
    norms = [f"layers.{i}.{name}" for i in range(LAYERS) for name in _NORMS]
    ones = {f"model.{name}.weight": np.ones(HIDDEN, np.float32) for name in [*norms, "norm"]}
    return weights | ones


_NORMS = ("input_layernorm", "post_attention_layernorm")
_LAYER = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN * KV_HEADS // HEADS, HIDDEN),
    "self_attn.v_proj": (HIDDEN * KV_HEADS // HEADS, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
    "mlp.up_proj": (INTERMEDIATE, HIDDEN),
    "mlp.down_proj": (HIDDEN, INTERMEDIATE),
}
_TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_max_length": 256,
    **dict(zip(("pad_token", "bos_token", "eos_token"), SPECIAL, strict=True)),
}


def _tokenizer() -> str:
    """Return the JSON of a tokenizer of one token per byte, which adds <bos> itself."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate([*alphabet, *SPECIAL])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    return str(tokenizer.to_str())
