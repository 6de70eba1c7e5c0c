"""How much a stage computes, reads and writes, by its inputs and the size of its model. Pure.

Rough by design: it is to tell stages apart. What is measured corrects it (``durations.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.grid.cells import ModelInfo
from orchestrator.stages.stage_specs import StageKind, StageSpec

# Operations per parameter and token: a forward pass, and backward passes to activations alone, as
# through frozen weights, and to the weights as well (Kaplan et al., arXiv 2001.08361, section 2.1).
FORWARD, THROUGH_FROZEN, TRAINED = 2.0, 4.0, 6.0
ROUND_BY_ROUND = ("gates", "sleb")  # selectors whose rounds cost as much as they say
_TEXT_TOKENS = 300_000  # of a text that is scored as a whole
# Of tasks that are commonly scored: their items, and the tokens of one over all its answers, as a
# llama's tokenizer counts them. The others are taken to be middling.
_TASKS: Mapping[str, tuple[int, int]] = {
    "arc_challenge": (1172, 150),
    "arc_easy": (2376, 120),
    "boolq": (3270, 300),
    "hellaswag": (10042, 360),
    "mmlu": (14042, 500),
    "openbookqa": (500, 60),
    "piqa": (1838, 75),
    "sciq": (1000, 430),
    "winogrande": (1267, 45),
}
_OTHER_TASK = (2000, 150)
_UNKNOWN_LAYER_PARAMS = 100 * 10**6  # of a model whose config is not at hand


@dataclass(frozen=True)
class Effort:
    """What a stage does, as far as time goes; all counts are of the whole stage.

    ``operations``: floating-point ones. ``stored_bytes``: of weights, read and written.
    ``streamed_bytes``: of weights that pass by from memory, once per generated token.
    """

    operations: float = 0.0
    stored_bytes: float = 0.0
    streamed_bytes: float = 0.0


@dataclass(frozen=True)
class _Size:
    layers: int
    layer_params: int
    outside_params: int  # that each token passes: the output head
    all_outside_params: int
    weight_bytes: int

    def passed(self, layers: int) -> float:
        """The parameters that a token passes in a model of so many of its layers."""
        return float(layers * self.layer_params + self.outside_params)

    def stored(self, layers: int) -> float:
        """The bytes of a checkpoint of so many layers."""
        return float(layers * self.layer_params + self.all_outside_params) * self.weight_bytes


def effort_of(spec: StageSpec, model: ModelInfo, done_rounds: int = 0) -> Effort:
    """Return the effort of a stage; of a ranking, of the rounds up to ``spec.depth`` still to do.

    Where ``model`` has no shape, a middling one is taken for it.
    """
    size = _size(model, spec.inputs.get("precision") or "auto")
    match spec.kind:
        case StageKind.RANKING:
            return _ranking(spec, size, done_rounds)
        case StageKind.TRANSFER:
            return _transfer(spec, size)
        case StageKind.PRUNE:
            kept = size.layers - len(spec.inputs["layers"])
            return Effort(0, size.stored(size.layers) + size.stored(kept))
        case StageKind.MEASURE:
            return _measurement(spec, size)
        case _:
            return evaluation_effort(spec, model, 0)


def evaluation_effort(spec: StageSpec, model: ModelInfo, removed: int) -> Effort:
    """Return the effort of scoring a model with so many layers less, which the spec says not."""
    size = _size(model, spec.inputs.get("precision") or "auto")
    evaluation, layers = spec.inputs["evaluation"], size.layers - removed
    tokens = 0
    for text in evaluation["perplexity"]:
        windows = text["max_windows"]
        tokens += windows * text["window_tokens"] if windows else _TEXT_TOKENS
    if benchmarks := evaluation["benchmarks"]:
        for task in benchmarks["tasks"]:
            items, item_tokens = _TASKS.get(task, _OTHER_TASK)
            tokens += min(items, benchmarks["limit"] or items) * item_tokens
    return Effort(FORWARD * tokens * size.passed(layers), size.stored(layers))


def _size(model: ModelInfo, precision: Any) -> _Size:
    shape = model.shape
    if shape is None:
        layer, bytes_ = _UNKNOWN_LAYER_PARAMS, 4 if precision == "fp32" else 2
        return _Size(model.layers, layer, layer, layer, bytes_)
    head = shape.vocabulary * shape.hidden
    outside = shape.embedding_params + shape.head_params + shape.other_params
    bytes_ = shape.weight_bytes(precision)
    return _Size(shape.layers, shape.layer_params, head, outside, bytes_)


def _ranking(spec: StageSpec, size: _Size, done: int) -> Effort:
    calibration, selector = spec.inputs["calibration"], spec.inputs["selector"]
    if calibration is None:
        return Effort()
    blocks, tokens = calibration["blocks"], calibration["block_tokens"]
    rounds = range(done, spec.depth)
    if not rounds:
        return Effort()
    match selector["name"]:
        case "gates":
            per_step = selector["blocks_per_step"]
            steps = selector["steps_per_round"] or max(1, blocks // per_step)
            factor = TRAINED if selector["train_weights"] else THROUGH_FROZEN
            passed = sum(size.passed(size.layers - gone) for gone in rounds)
            operations = factor * steps * per_step * tokens * passed
        case "sleb":  # a pass, and of each candidate's the end that follows it: half, on average
            left = (size.layers - gone for gone in rounds)
            passed = sum(size.passed(n) + n * size.passed((n - 1) // 2) for n in left)
            operations = FORWARD * blocks * tokens * passed
        case _:  # all at once
            operations = FORWARD * blocks * tokens * size.passed(size.layers)
    return Effort(operations)  # loading is nothing beside it, and is done once


def _transfer(spec: StageSpec, size: _Size) -> Effort:
    settings, calibration = spec.inputs["transfer"], spec.inputs["calibration"]
    per_step = settings["blocks_per_step"]
    steps = settings["steps"] or max(1, calibration["blocks"] // per_step)
    bypassed = len(spec.inputs["layers"]) if settings["name"] == "heal" else 0
    factor = THROUGH_FROZEN if settings.get("lora") else TRAINED
    tokens = steps * per_step * calibration["block_tokens"]
    operations = factor * tokens * size.passed(size.layers - bypassed)
    return Effort(operations, 2 * size.stored(size.layers))


def _measurement(spec: StageSpec, size: _Size) -> Effort:
    protocol, layers = spec.inputs["measurement"], int(spec.inputs["layers_kept"])
    prompts = (1 + protocol["prompt_repeats"]) * protocol["prompt_batch"]
    generations = 1 + protocol["generate_repeats"]
    of_each = protocol["generate_prompt_tokens"] + protocol["generate_new_tokens"]
    tokens = prompts * protocol["prompt_tokens"]
    tokens += generations * protocol["generate_batch"] * of_each
    stored = size.stored(layers)
    streamed = generations * protocol["generate_new_tokens"] * stored
    return Effort(FORWARD * tokens * size.passed(layers), stored, streamed)
