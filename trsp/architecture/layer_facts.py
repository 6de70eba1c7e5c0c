"""What the layers of a model are by its config: whether a pruned config still says so of each.

A layer that is kept must be after deletion what it was before: of the same type, with the same
window, of the same widths. The modules in memory are the same ones, so they cannot tell; a model
that is built from the pruned config can, and that is the one which a reader of the checkpoint gets.
"""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from trsp.architecture.decoders import decoder_layers
from trsp.architecture.families import family_of, layer_count

_OF_ITS_PLACE = ("layer_idx", "training")  # not what a layer is: where it stands, and a mode
Facts = Mapping[str, object]


def check_kept(model: PreTrainedModel, before: Any, kept: Sequence[int]) -> None:
    """Assert that the config of ``model`` says of each layer what ``before`` said of it.

    ``kept``: the indices, by the config ``before``, of the layers that are left, in order.
    AssertionError names the list or the module's attribute that differs: the family's entry in the
    table is wrong, or ``trsp.surgery``.
    """
    _check_lists(before.to_dict(), model.config.to_dict(), kept)
    was = layer_facts(type(model), copy.deepcopy(before))
    now = layer_facts(type(model), _as_read_back(model.config))
    assert len(now) == len(kept), f"the config says {len(now)} layers, {len(kept)} are left"
    for position, index in enumerate(kept):
        for name in sorted({*was[index], *now[position]}):
            wanted, found = was[index].get(name, "not there"), now[position].get(name, "not there")
            assert found == wanted, (
                f"layer {index} is not what it was: {name} was {wanted!r} and is {found!r} by the "
                "pruned config"
            )


def _check_lists(before: Mapping[str, Any], after: Mapping[str, Any], kept: Sequence[int]) -> None:
    """Assert that every list with an entry per layer holds the entries of those kept.

    Such are the lists that the family's table names, and all others as long as there are layers
    whose key speaks of layers.
    """
    count, named = layer_count(before), family_of(before).per_layer
    for key, listed in before.items():
        of_layers = key in named or (isinstance(listed, list | tuple) and "layer" in key)
        if of_layers and listed is not None and len(listed) == count:
            wanted = [listed[index] for index in kept]
            assert list(after.get(key) or ()) == wanted, (
                f"{key} of the pruned config is {after.get(key)}; of the layers kept it is {wanted}"
            )


def _as_read_back(config: Any) -> Any:
    """Return the config that a reader of the checkpoint gets: written as JSON, and read."""
    return type(config).from_dict(json.loads(config.to_json_string()))


def layer_facts(architecture: type[PreTrainedModel], config: Any) -> list[Facts]:
    """Return what each layer is that ``config`` describes: module by module, plain attributes.

    With them come the shapes of parameters. Nothing is computed and no memory is taken: the model
    is built on torch's ``meta`` device. ``config`` is changed, and not to be used afterwards.
    """
    config._attn_implementation = "eager"
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = architecture(config)
    return [dict(_facts(layer)) for layer in decoder_layers(model)]


def _facts(layer: nn.Module) -> Iterator[tuple[str, object]]:
    for path, module in layer.named_modules():
        yield f"{path}:", type(module).__name__
        for name, value in vars(module).items():
            plain = isinstance(value, bool | int | float | str | None)
            if plain and not name.startswith("_") and name not in _OF_ITS_PLACE:
                yield f"{path}.{name}", value
        for name, parameter in module.named_parameters(recurse=False):
            yield f"{path}.{name}", tuple(parameter.shape)


@contextmanager
def short_windows(model: PreTrainedModel, size: int) -> Iterator[None]:
    """While open, no layer's sliding window is longer than ``size`` tokens.

    Which layers have a window, and what lies in it, is another matter than how long it is: two
    models that agree at one length agree at all. So a few tokens run past windows of thousands.
    """
    holders = [model.config, *model.modules()]
    before = [(each, each.__dict__.get("sliding_window")) for each in holders]
    long = [(each, window) for each, window in before if isinstance(window, int) and window > size]
    for holder, _ in long:
        holder.sliding_window = size
    try:
        yield
    finally:
        for holder, window in long:
            holder.sliding_window = window
