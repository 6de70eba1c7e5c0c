"""The numbers of a cell as MLflow's metrics."""

from pathlib import Path

import pytest

from orchestrator.tracking.content.metrics import shown_metrics, shown_name, shown_value
from tests.orchestrator import sample_views as sample


def test_scores_come_first_and_each_has_its_error_beside_it(tmp_path: Path) -> None:
    names = list(shown_metrics(sample.finished(tmp_path).cells[0]))
    assert names[:8] == [
        "perplexity/wiki",
        "stderr/perplexity/wiki",
        "perplexity/c4",
        "accuracy",
        "piqa/acc_norm",
        "stderr/piqa/acc_norm",
        "arc_easy/acc_norm",
        "stderr/arc_easy/acc_norm",
    ]


@pytest.mark.parametrize(
    ("metric", "value", "name", "shown"),
    [
        ("params", 123_890_112, "params_M", 123.890112),
        ("bytes", 13_476_000_000, "size_GB", 13.476),
        ("kv_bytes_per_token", 131072, "kv_KB_per_token", 131.072),
        ("latency_ms", 12.5, "latency_ms", 12.5),
        ("perplexity/wiki", 22.46, "perplexity/wiki", 22.46),
    ],
)
def test_large_numbers_are_in_units_that_their_names_say(
    metric: str, value: float, name: str, shown: float
) -> None:
    assert (shown_name(metric), shown_value(metric, value)) == (name, pytest.approx(shown))
