"""The model card of a pruned checkpoint: plain values in, markdown out.

No torch; knows nothing of files.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

_USE = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("PATH_TO_THIS_FOLDER")
tokenizer = AutoTokenizer.from_pretrained("PATH_TO_THIS_FOLDER")
```
"""


def model_card(
    *,
    name: str,
    source: str,
    revision: str | None,
    layers: int,
    removed_layers: Sequence[int],
    settings: Mapping[str, object],
    scores: Mapping[str, float] | None = None,
    dense_scores: Mapping[str, float] | None = None,
    license_id: str | None = None,
) -> str:
    """Return markdown with YAML front matter, as the hub reads it.

    ``layers`` counts those of the original; ``removed_layers`` are 0-based in it, in any order.
    ``settings`` are what made the checkpoint, by name. ``scores`` and ``dense_scores`` are by
    metric; either may be missing.
    """
    setting_rows = [(key, str(value)) for key, value in settings.items()]
    score_rows = _score_rows(scores or {}, dense_scores or {})
    parts = [
        _front_matter(source, license_id),
        f"# {name}\n",
        _summary(source, revision, layers, removed_layers),
        _table("How it was made", ("setting", "value"), setting_rows),
        _table("Scores", ("metric", "this model", "original"), score_rows),
        f"## Use\n\n{_USE}",
    ]
    return "\n".join(part for part in parts if part)


def _summary(source: str, revision: str | None, layers: int, removed_layers: Sequence[int]) -> str:
    original = source if _is_hub_id(source) else Path(source).name
    at = f" at revision `{revision}`" if revision else ""
    listed = ", ".join(str(layer) for layer in sorted(removed_layers)) or "none"
    return (
        f"`{original}`{at} with {len(removed_layers)} of its {layers} transformer layers removed "
        "by TRSP's toolchain.\n\n"
        f"Removed layers (0-based, in the original model): **{listed}**.\n"
    )


def _is_hub_id(source: str) -> bool:
    """Whether ``source`` names a model on the hub, and no folder.

    A folder's path must not go out with a checkpoint: it means nothing elsewhere.
    """
    return (
        source.count("/") <= 1
        and not source.startswith((".", "/", "~"))
        and not Path(source).is_dir()
    )


def _front_matter(source: str, license_id: str | None) -> str:
    entries: dict[str, object] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if _is_hub_id(source):
        entries["base_model"] = source
    if license_id:
        entries["license"] = license_id
    entries["tags"] = ["trsp", "layer-pruning"]
    return f"---\n{yaml.safe_dump(entries, sort_keys=False)}---\n"


def _score_rows(scores: Mapping[str, float], dense: Mapping[str, float]) -> list[tuple[str, ...]]:
    def cell(values: Mapping[str, float], metric: str) -> str:
        return f"{values[metric]:.4g}" if metric in values else ""

    return [(metric, cell(scores, metric), cell(dense, metric)) for metric in scores]


def _table(title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A markdown section with a table; the empty string where there are no rows."""
    if not rows:
        return ""
    lines = [header, ("---",) * len(header), *rows]
    body = "\n".join(
        "| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines
    )
    return f"## {title}\n\n{body}\n"
