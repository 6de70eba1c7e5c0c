"""What a budget limits, as straight lines over the number of layers that go. Pure.

All layers of a model are alike in size, so each that goes takes as much with it. Parameters and the
cache of keys and values are exact; of a file of weights, what its header takes is a bound.
"""

from dataclasses import dataclass

from trsp.architecture.shape import ModelShape

# At most, in the header of a safetensors file: name, type, shape and place of a tensor.
_HEADER_BYTES = 160
_NORMS, _OUTSIDE_TENSORS = 6, 8  # at most: vectors in a layer, tensors outside of all layers


@dataclass(frozen=True)
class Line:
    """A size of the unpruned model, and how much of it goes with each layer."""

    dense: float
    per_layer: float

    def after(self, removed: int) -> float:
        """Return the size once so many layers are gone."""
        return self.dense - removed * self.per_layer

    def fewest(self, limit: float) -> int:
        """Return the fewest layers that must go to be within the limit: maybe more than all."""
        return max(0, int(-((limit - self.dense) // self.per_layer)))


def size_lines(
    shape: ModelShape, weight_bytes: int, latency_ms: float | None = None
) -> dict[str, Line]:
    """Return the lines of a model by the metrics that budgets limit.

    ``weight_bytes``: of one weight as checkpoints are saved. ``latency_ms``: of the unpruned model;
    None: not known, and then no latency is among the lines.
    """
    tensors = 2 * len(shape.linears) + _NORMS
    layer_bytes = shape.layer_params * weight_bytes + tensors * _HEADER_BYTES
    outside_bytes = (shape.params - shape.layers * shape.layer_params) * weight_bytes
    outside_bytes += _OUTSIDE_TENSORS * _HEADER_BYTES
    kv_bytes = 2 * shape.key_value * weight_bytes
    lines = {
        "params": Line(shape.params, shape.layer_params),
        "bytes": Line(outside_bytes + shape.layers * layer_bytes, layer_bytes),
        "kv_bytes_per_token": Line(shape.layers * kv_bytes, kv_bytes),
    }
    if latency_ms is not None:
        lines["latency_ms"] = Line(latency_ms, latency_ms * compute_share(shape))
    return lines


def compute_share(shape: ModelShape) -> float:
    """Return the share of a prompt's operations that one layer does, by the parameters it has.

    The output head does the rest. What attention does between tokens is left out: it is the
    layers' own, so that a layer takes at least this share with it.
    """
    head = shape.vocabulary * shape.hidden
    return shape.layer_params / (shape.layers * shape.layer_params + head)
