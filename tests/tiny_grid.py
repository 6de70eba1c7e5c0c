"""A grid file on a tiny model: what the orchestrator's tests run."""

from pathlib import Path
from typing import Any

import yaml


def tiny_grid(folder: Path, model: Path, text: Path, **changes: Any) -> Path:
    """Write ``folder/tiny.yaml``: 1 model x 2 ratios x 2 lambda_1 x 1 lambda_2, seconds per cell.

    ``changes`` replace keys.
    """
    source = {"name": "tiny", "path": str(text)}
    window = {"window_tokens": 32, "max_windows": 6}
    grid: dict[str, Any] = {
        "models": str(model),
        "selectors": {"name": "gates", "steps_per_round": 2, "blocks_per_step": 2},
        "ratios": [0.2, 0.5],
        "gate_l1": [0.001, 0.1],
        "drift": 0.1,
        "transfer": {"name": "drift", "steps": 3, "blocks_per_step": 2, "learning_rate": 1e-3},
        "calibration": {"text": source, "blocks": 8, "block_tokens": 32},
        "evaluation": {"perplexity": [{"text": source, **window}]},
        "measurement": {
            "protocol": "small",
            "prompt_tokens": 16,
            "prompt_repeats": 1,
            "generate_batch": 1,
            "generate_prompt_tokens": 4,
            "generate_new_tokens": 4,
            "generate_repeats": 1,
        },
        "budgets": [{"max_params": "60k"}],
        "storage": {"store": str(folder / "store")},
        "tracking": {"uri": f"sqlite:///{folder}/mlflow.db", "experiment": "tiny"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**grid, **changes}))
    return path
