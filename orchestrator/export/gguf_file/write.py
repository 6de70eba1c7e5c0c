"""Writes a checkpoint's folder as one GGUF file."""

import json
from pathlib import Path

from gguf import GGML_QUANT_VERSION, GGMLQuantizationType, GGUFWriter, LlamaFileType

from orchestrator.export.gguf_file.hyperparameters import add_hyperparameters, architecture_of
from orchestrator.export.gguf_file.tensors import Weight, weights_of
from orchestrator.export.gguf_file.vocabulary import add_vocabulary

_FILE_TYPES = {
    GGMLQuantizationType.BF16: LlamaFileType.MOSTLY_BF16,
    GGMLQuantizationType.F16: LlamaFileType.MOSTLY_F16,
    GGMLQuantizationType.F32: LlamaFileType.ALL_F32,
}


def write_gguf(folder: Path, name: str, file: Path) -> None:
    """Write the model and the tokenizer of ``folder``, under ``name``, to ``file``.

    Matrices have the type in which they are stored, norms and biases are f32. InvalidInputError
    where GGUF cannot say what the folder holds: then nothing is written.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    architecture = architecture_of(config)
    weights = weights_of(folder, architecture, config)
    writer = GGUFWriter(None, architecture)
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(_FILE_TYPES[max(weights, key=lambda weight: weight.stored.size).type])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    add_hyperparameters(writer, config)
    add_vocabulary(writer, folder, config["vocab_size"])
    _write(writer, weights, file)


def _write(writer: GGUFWriter, weights: list[Weight], file: Path) -> None:
    """Write what the writer has been told, then one tensor after the other."""
    for weight in weights:
        size_bytes = weight.stored.size * (4 if weight.type == GGMLQuantizationType.F32 else 2)
        writer.add_tensor_info(
            weight.name, weight.stored.shape, weight.stored.dtype, size_bytes, raw_dtype=weight.type
        )
    try:
        writer.write_header_to_file(file)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for weight in weights:
            writer.write_tensor_data(weight.numbers())
    finally:
        writer.close()
