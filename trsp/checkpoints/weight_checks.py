"""Whether stored weights are those of the config.json beside them, told by names and shapes alone.

Looks at what every family has: the layers and their linear modules, the embedding and the output
head. No torch, and no weights are read.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trsp.architecture.families import family_of, layer_count
from trsp.architecture.family_weights import FAMILY_WEIGHTS
from trsp.architecture.shape import model_shape
from trsp.checkpoints.weight_headers import Shapes, is_whole, stored_shapes
from trsp.errors import InvalidInputError

Config = Mapping[str, Any]


def check_weights(source: str, folder: Path, config: Config, *, partial: bool = False) -> None:
    """Raise InvalidInputError unless the folder's weights are whole and of this config's sizes.

    ``partial``: the folder is a cache, which need not hold all of them; what is there is checked.
    The config's family must be known.
    """
    shapes = stored_shapes(source, folder, partial=partial)
    if partial and not is_whole(folder):
        return
    for mistake in _mistakes(shapes, config):
        raise InvalidInputError(
            f"the weights of {source!r} are not those of its config.json: {mistake}; "
            "take both from one checkpoint"
        )


def _mistakes(shapes: Shapes, config: Config) -> Iterator[str]:
    """Yield what contradicts the config, the most telling first."""
    layers = _by_layer(shapes, config)
    yield from _wrong_layers(layers, config)
    yield from _wrong_embeddings(shapes, config)
    yield from _wrong_linears(layers, config)


def _by_layer(shapes: Shapes, config: Config) -> dict[int, dict[str, tuple[int, ...]]]:
    """Return the stored tensors of each layer, by their names within it.

    What stands before the layers differs: many checkpoints leave out the outermost module.
    """
    holder = family_of(config).layers.rpartition(".")[2]
    pattern = re.compile(rf"(?:^|\.){re.escape(holder)}\.(\d+)\.(.+)$")
    layers: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        if found := pattern.search(name):
            layers.setdefault(int(found[1]), {})[found[2]] = shape
    return layers


def _wrong_layers(layers: Mapping[int, object], config: Config) -> Iterator[str]:
    count, key = layer_count(config), family_of(config).count
    if more := sorted(set(layers) - set(range(count))):
        yield (
            f"they have a layer {more[-1]} (counted from 0), but {key} is {count}, "
            "so that layers would be left out in silence"
        )
    if fewer := sorted(set(range(count)) - set(layers)):
        yield f"{key} is {count}, but they lack layer {fewer[0]} (counted from 0)"


def _wrong_embeddings(shapes: Shapes, config: Config) -> Iterator[str]:
    """Yield what is wrong with the embedding, and with the output head where it is not that."""
    weights = FAMILY_WEIGHTS[config["model_type"]]
    shape = model_shape(config)
    wanted = (shape.vocabulary, config.get("word_embed_proj_dim") or shape.hidden)
    heads = {weights.head, "lm_head"}  # some families write the head by a name they had before
    if config.get("tie_word_embeddings", weights.tied):
        wanted_modules = [{weights.embedding, *heads}]  # one tensor, by any of its names
    else:
        wanted_modules = [{weights.embedding}, heads]
    for names in wanted_modules:
        stored = _weights_of(names, shapes)
        module = " or ".join(sorted(names))
        if not stored:
            yield f"they lack {module} ({list(wanted)} by vocab_size and hidden size)"
        elif wanted not in stored:
            sizes = f"vocab_size and hidden size make it {list(wanted)}"
            yield f"{module} is {list(stored[0])}, but {sizes}"


def _weights_of(modules: Iterable[str], shapes: Shapes) -> list[tuple[int, ...]]:
    """Return the shapes of the weights of all modules that have one of these names."""
    return [
        shape
        for name, shape in shapes.items()
        if any(_is_weight_of(module, name) for module in modules)
    ]


def _wrong_linears(
    layers: Mapping[int, Mapping[str, tuple[int, ...]]], config: Config
) -> Iterator[str]:
    """Yield the linear modules that are missing or of other sizes; some families transpose them."""
    linears = model_shape(config).linears
    for layer in range(layer_count(config)):
        tensors = layers.get(layer, {})
        for module, inputs, outputs in linears:
            named = next((name for name in tensors if _is_weight_of(module, name)), None)
            if named is None:
                yield f"layer {layer} lacks {module}.weight"
            elif sorted(tensors[named]) != sorted((inputs, outputs)):
                yield (
                    f"{named} of layer {layer} is {list(tensors[named])}, "
                    f"but the config's sizes make it {[outputs, inputs]}"
                )


def _is_weight_of(module: str, name: str) -> bool:
    """Whether a tensor of this name is the weight of a module whose name ends so."""
    return name == f"{module}.weight" or name.endswith(f".{module}.weight")
