"""Tiny random models of every family, a tiny real tokenizer and a tiny text.

They are what the tests run on instead of downloads. Everything is a pure function of its arguments:
two calls write the same bytes.
"""

import json
import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from trsp.architecture.families import FAMILIES
from trsp.config import TextSource

LAYERS = 6
HIDDEN = 32
HEADS = 4
SPECIAL = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}
VOCABULARY = 256 + len(SPECIAL) + 5  # bytes and special tokens, padded to a multiple of 8

_WIDE = {"hidden_size": HIDDEN, "num_attention_heads": HEADS, "max_position_embeddings": 256}
_GROUPED = _WIDE | {"intermediate_size": 48, "num_key_value_heads": 2}
_GEMMA = _GROUPED | {"head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16}

# What differs from a family's own defaults. Windows are shorter than the tests' texts: layer types
# matter.
FAMILY_SETTINGS: dict[str, dict[str, Any]] = {
    "llama": _GROUPED | {"tie_word_embeddings": True},
    "mistral": _GROUPED | {"sliding_window": 8},
    "qwen2": _GROUPED | {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 3},
    "qwen3": _GROUPED | {"head_dim": 16},
    "gemma2": _GEMMA,
    "gemma3_text": _GEMMA,
    "phi": _WIDE | {"intermediate_size": 48},
    "phi3": _GROUPED,
    "opt": _WIDE | {"ffn_dim": 48, "word_embed_proj_dim": HIDDEN},
    "gpt2": {"n_embd": HIDDEN, "n_head": HEADS, "n_positions": 256},
    "gpt_neox": _WIDE | {"intermediate_size": 48},
    "olmo2": _GROUPED,
}


def tiny_config(family: str, layers: int = LAYERS) -> Any:
    """The config of a tiny model.

    Gemma 3 gets full attention in layers 1, 3 and the last: neither its own pattern nor any other
    regular one.
    """
    settings = FAMILY_SETTINGS[family] | {FAMILIES[family].count: layers, "vocab_size": VOCABULARY}
    if family == "gemma3_text":
        full = {1, 3, layers - 1}
        settings |= {
            "layer_types": [
                "full_attention" if i in full else "sliding_attention" for i in range(layers)
            ]
        }
    ids = {"pad_token_id": 256, "bos_token_id": 257, "eos_token_id": 258}
    return AutoConfig.for_model(family, **settings, **ids)


def tiny_model(
    family: str, layers: int = LAYERS, seed: int = 0, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """A random model in eval mode.

    Its weights are larger than freshly initialised ones: every layer moves the logits.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(tiny_config(family, layers), dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 2:
                    parameter.normal_(std=0.15)
    return model.to(dtype).eval()


def tiny_tokenizer(*, adds_bos: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer of one token per byte; it adds <bos> itself, as Llama's does.

    Or it does not, as some that were converted have forgotten to.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate([*alphabet, *SPECIAL.values()])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    if not adds_bos:
        tokenizer.post_processor = None
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=256, **SPECIAL)


def save_tiny(
    family: str,
    folder: Path,
    layers: int = LAYERS,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write a tiny model and its tokenizer to ``folder``, as a hub checkpoint lies there."""
    tiny_model(family, layers, seed, dtype).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


_ADJECTIVES = ("small", "old", "green", "quiet", "clever")
_NOUNS = ("cat", "river", "farmer", "stone", "machine")
_VERBS = ("sees", "follows", "finds", "remembers")


def tiny_text(folder: Path, documents: int = 64, sentences: int = 12, seed: int = 0) -> Path:
    """Write a .jsonl of documents (field ``text``) in a small grammar.

    A model that trains on it gets better soon.
    """
    rng = random.Random(seed)

    def sentence() -> str:
        nouns = [f"the {rng.choice(_ADJECTIVES)} {rng.choice(_NOUNS)}" for _ in range(2)]
        return f"{nouns[0].capitalize()} {rng.choice(_VERBS)} {nouns[1]}."

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "text.jsonl"
    write_jsonl(path, *(" ".join(sentence() for _ in range(sentences)) for _ in range(documents)))
    return path


def write_jsonl(path: Path, *texts: str) -> TextSource:
    """Write ``texts`` to ``path``, one JSON object per line, and return the source that it is."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return TextSource(name="t", path=str(path))


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all weights and buffers that a checkpoint holds, by name."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
