"""The model that a chain hands on is the one that loading the checkpoint would give."""

import gc
import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.store import Store
from tests.orchestrator.execution.chains import Cell, cell_of
from tests.tiny import save_tiny
from trsp.architecture.decoders import decoder_layers
from trsp.checkpoints.checkpoint import load_model, load_tokenizer
from trsp.engine.engine import Engine
from trsp.evaluation import items

# Of a module's own attributes, those that may differ: the weights, compared by themselves.
_WEIGHTS = ("_parameters", "_buffers", "_modules")
# Where a model was read from, and that it was.
_OF_ITS_SOURCE = ("_name_or_path", "name_or_path", "_commit_hash", "_is_hf_initialized")


class HandedError(Exception):
    """Thrown in place of the evaluation, so that nothing is changed by it."""


class Chain:
    """A chain up to its evaluation, and what was handed to that."""

    def __init__(self, cell: Cell, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cell, self.store = cell, store
        self.engines: list[weakref.ref[Any]] = []
        self.layers: list[weakref.ref[nn.Module]] = []
        self.of_others = weakref.WeakValueDictionary({id(each): each for each in all_floats()})
        self._watch(monkeypatch)
        cell.run(store)

    def _watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        begin = Engine.__init__

        def note_engine(engine: Engine, *given: Any) -> None:
            begin(engine, *given)
            inner = engine._engine
            self.engines += [weakref.ref(inner), weakref.ref(inner.optimizer)]
            self.layers += [weakref.ref(layer) for layer in decoder_layers(engine.model)]

        def take(model: Any, tokenizer: Any, *_: Any) -> None:
            self.model, self.tokenizer = model, tokenizer
            self.alive = [layer() is not None for layer in self.layers]
            self.engines_left = [each() for each in self.engines if each() is not None]
            raise HandedError

        monkeypatch.setattr(Engine, "__init__", note_engine)
        monkeypatch.setattr(items, "prepared_items", take)

    def loaded(self) -> Iterator[tuple[Any, Any]]:
        with self.store.stages.local_files(self.cell[StageKind.PRUNE].key) as folder:
            yield load_model(str(folder)), load_tokenizer(str(folder))


def all_floats() -> list[torch.Tensor]:
    """All tensors of floating-point numbers that this process holds."""
    gc.collect()
    found = [each for each in gc.get_objects() if isinstance(each, torch.Tensor)]
    return [each for each in found if each.dtype.is_floating_point]


LORA = {"rank": 2, "alpha": 4}
CASES = [
    ("llama", "fp32", {}),
    ("gemma3_text", "bf16", {}),
    ("gpt2", "fp32", {"lora": LORA}),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case[0])
def chain(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, text_file: Path
) -> Chain:
    family, precision, lora = request.param
    folder = tmp_path_factory.mktemp(family)
    transfer = {"name": "drift", "steps": 2, "blocks_per_step": 2, **lora}
    model = save_tiny(family, folder / "model")
    cell = cell_of(folder, model, text_file, precision=precision, transfer=transfer)
    with pytest.MonkeyPatch.context() as monkeypatch:
        return Chain(cell, Store(str(folder / "a store")), monkeypatch)


def test_the_model_handed_on_is_the_one_that_is_loaded(chain: Chain) -> None:
    for model, tokenizer in chain.loaded():
        handed = chain.model
        assert read_back(handed.config) == read_back(model.config)
        assert type(handed) is type(model)
        assert handed.dtype == model.dtype
        assert handed.config._attn_implementation == model.config._attn_implementation
        assert handed.generation_config.to_dict() == model.generation_config.to_dict()
        assert differences(carried(handed), carried(model)) == []
        assert_same_tensors(handed, model)
        assert chain.tokenizer.get_vocab() == tokenizer.get_vocab()
        assert plain(chain.tokenizer.init_kwargs) == plain(tokenizer.init_kwargs)
        tokens_BT = torch.arange(48).reshape(2, 24)
        with torch.inference_mode():
            assert torch.equal(handed(tokens_BT).logits, model(tokens_BT).logits)


def read_back(config: Any) -> dict[str, Any]:
    """What a reader of the config gets: defaults that it leaves out are filled in."""
    found: dict[str, Any] = type(config).from_dict(json.loads(config.to_json_string())).to_dict()
    return found


def assert_same_tensors(handed: nn.Module, model: nn.Module) -> None:
    """Names, values, types, places, sharing and the wish for gradients of all tensors."""
    ours, theirs = tensors(handed), tensors(model)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
        for what in ("dtype", "device", "requires_grad", "grad", "is_leaf"):
            assert getattr(ours[name], what) == getattr(tensor, what), f"{name}.{what}"
        assert vars(ours[name]).keys() == vars(tensor).keys(), f"something is left on {name}"
    assert shared(ours) == shared(theirs)


def tensors(model: nn.Module) -> dict[str, Any]:
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return parameters | dict(model.named_buffers(remove_duplicate=False))


def shared(found: dict[str, Any]) -> set[frozenset[str]]:
    """The names of the tensors that are one."""
    return {frozenset(n for n, other in found.items() if other is each) for each in found.values()}


def carried(model: nn.Module) -> dict[str, dict[str, Any]]:
    """What each module carries besides its weights, as far as it can be compared."""
    ignored = _WEIGHTS + _OF_ITS_SOURCE
    return {
        name: {key: plain(value) for key, value in vars(module).items() if key not in ignored}
        for name, module in model.named_modules()
    }


def differences(
    ours: dict[str, dict[str, Any]], theirs: dict[str, dict[str, Any]]
) -> list[tuple[str, Any, Any]]:
    """The attributes of modules that differ, with both of their values."""
    assert ours.keys() == theirs.keys()
    return [
        (f"{name}.{key}", ours[name].get(key, "none"), theirs[name].get(key, "none"))
        for name in theirs
        for key in {**ours[name], **theirs[name]}
        if ours[name].get(key, "none") != theirs[name].get(key, "none")
    ]


def plain(value: Any) -> Any:
    """A value to compare: of what has no equals, the kind."""
    if isinstance(value, dict):
        return {k: plain(each) for k, each in value.items() if k not in _OF_ITS_SOURCE}
    simple = bool | int | float | str | None | torch.device | torch.dtype
    return value if isinstance(value, simple) else type(value).__name__


def test_nothing_of_the_training_is_left_and_no_layer_that_was_deleted(chain: Chain) -> None:
    assert chain.engines, "something was trained"
    assert chain.engines_left == []
    assert chain.alive == [True, False, True, True, False, True]


def test_no_weight_is_a_part_of_something_larger(chain: Chain) -> None:
    for name, tensor in tensors(chain.model).items():
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size(), name
    whole = sum(each.numel() * each.element_size() for each in chain.model.parameters())
    sizes = {
        each.untyped_storage().data_ptr(): each.untyped_storage().nbytes()
        for each in all_floats()
        if chain.of_others.get(id(each)) is not each
    }
    assert sum(size for size in sizes.values() if size > whole // 4) <= whole
