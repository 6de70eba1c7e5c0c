"""Taking layers out of a model: for a while (``bypassed``) or for good (``remove_layers``).

Knows no files and no training. What must be true afterwards: docs/method.md, section 5.
"""

import copy
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trsp.architecture.decoders import decoder_layers, layer_input, set_decoder_layers
from trsp.architecture.families import check_layers, layer_count, pruned_config
from trsp.architecture.layer_facts import check_kept, short_windows
from trsp.errors import TrainingDivergedError

# Rounding steps of the largest logit that two orders of the same sums may differ by.
_PROOF_STEPS = 8


def _identity(*args: Any, **kwargs: Any) -> Tensor:
    return layer_input(args, kwargs)


@contextmanager
def bypassed(model: PreTrainedModel, layers: Collection[int]) -> Iterator[None]:
    """While open, ``layers`` (0-based positions) return their input unchanged, at no cost.

    Call the model with ``use_cache=False`` inside: the KV cache is not valid, since a bypassed
    layer writes nothing into its place. The override sits on each layer's ``forward`` attribute:
    module names, state dict, hooks and gradient checkpointing of the other layers stay as they are.
    May be nested, with overlapping layers; leaving restores whatever was there before.
    """
    stack = decoder_layers(model)
    with _calling_instead(_identity, [stack[i] for i in check_layers(layers, len(stack))]):
        yield


@contextmanager
def resumed_after(model: PreTrainedModel, layer: int, hidden_BTD: Tensor) -> Iterator[None]:
    """While open, a pass computes only what follows ``layer``, as if it had put out this tensor.

    Otherwise as ``bypassed``, also within it and within a pass.
    """
    passed = decoder_layers(model)[: layer + 1]
    with (
        _calling_instead(_identity, passed[:-1]),
        _calling_instead(lambda *args, **kwargs: hidden_BTD, passed[-1:]),
    ):
        yield


@contextmanager
def _calling_instead(forward: Callable[..., Tensor], layers: Iterable[nn.Module]) -> Iterator[None]:
    """While open, each of ``layers`` is this function."""
    before = {layer: layer.__dict__.get("forward") for layer in layers}
    for layer in before:
        layer.__dict__["forward"] = forward
    try:
        yield
    finally:
        for layer, own in before.items():
            if own is None:
                del layer.__dict__["forward"]
            else:
                layer.__dict__["forward"] = own


def remove_layers(model: PreTrainedModel, layers: Collection[int]) -> None:
    """Delete ``layers`` (0-based positions in ``model`` as it is now) in place, for good.

    What stays is renumbered (``layer_idx``, which places keys and values in the cache) and the
    config is cut to match. Weights are neither copied nor renamed apart from their position; tied
    embeddings stay tied. InvalidInputError: see ``check_layers``.
    """
    stack = decoder_layers(model)
    removed = check_layers(layers, len(stack))
    config = pruned_config(model.config.to_dict(), removed)
    kept = nn.ModuleList(layer for i, layer in enumerate(stack) if i not in removed)
    kept.train(stack.training)
    for position, layer in enumerate(kept):
        _renumber(layer, position)
    set_decoder_layers(model, kept)
    _apply_config(model, config)


@contextmanager
def undone_after_error(model: PreTrainedModel) -> Iterator[None]:
    """After an error within, the model has the layers and the config that it had before.

    What is deleted is kept in memory until the block ends.
    """
    stack, config = decoder_layers(model), copy.deepcopy(vars(model.config))
    try:
        yield
    except BaseException:
        set_decoder_layers(model, stack)
        for position, layer in enumerate(stack):
            _renumber(layer, position)
        vars(model.config).clear()
        vars(model.config).update(config)
        raise


def remove_layers_verified(
    model: PreTrainedModel, layers: Collection[int], tokens: int = 32
) -> None:
    """Delete ``layers`` of a model in eval mode, and prove that this equals bypassing them.

    On random tokens the logits must be those with ``layers`` bypassed: two forward passes over
    ``tokens`` tokens, or all that the model has positions for, with sliding windows shortened to
    half of them for the proof's duration, so that it runs past every window. And the pruned config
    must say of each layer that is kept what the config said of it (``check_kept``). AssertionError:
    the family's entry in the table is wrong, or this module. TrainingDivergedError: logits are NaN,
    of which nothing can be proven.
    """
    assert not model.training, "dropout would make any two passes differ"
    before = copy.deepcopy(model.config)
    tokens = min(tokens, getattr(before, "max_position_embeddings", None) or tokens)
    with short_windows(model, tokens // 2):
        bypassed_BTV, removed_BTV = _both_ways(model, layers, tokens)
    _check_equal(removed_BTV, bypassed_BTV, layers)
    check_kept(model, before, [i for i in range(_count(before)) if i not in frozenset(layers)])


def _check_equal(removed_BTV: Tensor, bypassed_BTV: Tensor, layers: Collection[int]) -> None:
    """Assert that logits with ``layers`` removed are those with them bypassed, but for rounding."""
    finite = bypassed_BTV[bypassed_BTV.isfinite()]
    if bypassed_BTV.isnan().any() or removed_BTV.isnan().any() or not finite.numel():
        raise TrainingDivergedError(
            f"the logits without layers {sorted(layers)} are NaN; look for NaN in the model's "
            "weights, or compute in fp32"
        )
    scale = finite.abs().max().item()
    torch.testing.assert_close(
        removed_BTV,
        bypassed_BTV,
        rtol=0,
        atol=_PROOF_STEPS * torch.finfo(bypassed_BTV.dtype).eps * scale,
        msg=lambda text: f"deletion differs from bypassing {sorted(layers)}: {text}",
    )


@torch.no_grad()
def _both_ways(
    model: PreTrainedModel, layers: Collection[int], tokens: int
) -> tuple[Tensor, Tensor]:
    """Delete ``layers``; return the logits with them bypassed before it, and those after it.

    Both are [1, T, V], of the same ``tokens`` random tokens.
    """
    vocabulary = model.get_input_embeddings().num_embeddings
    generator = torch.Generator().manual_seed(0)
    tokens_BT = torch.randint(vocabulary, (1, tokens), generator=generator).to(model.device)
    with bypassed(model, layers):
        bypassed_BTV = model(tokens_BT, use_cache=False).logits
    remove_layers(model, layers)
    return bypassed_BTV, model(tokens_BT, use_cache=False).logits


def _count(config: Any) -> int:
    return layer_count(config.to_dict())


def _renumber(layer: nn.Module, position: int) -> None:
    """Set ``layer_idx`` of all modules in ``layer`` that have one."""
    for module in layer.modules():
        if "layer_idx" in module.__dict__:
            module.layer_idx = position  # type: ignore[assignment]


def _apply_config(model: PreTrainedModel, pruned: dict[str, Any]) -> None:
    """Change the model's config to ``pruned`` in place: its submodules hold the same object."""
    for key, value in model.config.to_dict().items():
        if key not in pruned:
            delattr(model.config, key)
        elif pruned[key] != value:
            setattr(model.config, key, pruned[key])
