"""Tiny checkpoints that a GGUF file can hold: without a window, with a tokenizer that merges."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tests.tiny import SPECIAL, VOCABULARY, save_tiny


def saved(folder: Path, family: str = "llama", **changes: Any) -> Path:
    """A tiny checkpoint that a GGUF file can hold; ``changes`` of its config as written."""
    save_tiny(family, folder, layers=3)
    save_tokenizer(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"sliding_window": None} | changes))
    return folder


def save_tokenizer(folder: Path, sentencepiece: bool = False, cut: Any = None) -> None:
    """A tokenizer of few merges, some of which compete, that opens texts with <bos>."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    letters = [f"<0x{i:02X}>" for i in range(256)] if sentencepiece else sorted(alphabet)
    space = "▁" if sentencepiece else "Ġ"
    pieces = [*letters, *SPECIAL.values()]
    words = ["er", "re", space + "g", space + "gre"]
    single = [space, *"erginds"] if sentencepiece else []
    vocabulary = {piece: i for i, piece in enumerate([*pieces, *single, *words])}
    merges = [("r", "e"), (space, "g"), (space + "g", "re"), ("e", "r")]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=sentencepiece))
    if sentencepiece:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend(space), normalizers.Replace(" ", space)]
        )
        tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    else:
        tokenizer.pre_tokenizer = cut or pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    size = max(VOCABULARY, len(vocabulary))
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": size}))
