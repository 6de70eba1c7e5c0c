"""The leaderboard's view and link. That MLflow's page understands them: tests/browser."""

import json
from pathlib import Path

from orchestrator.tracking.content import leaderboard
from tests.orchestrator import sample_views as sample


def test_shared_view_sorts_the_cells_by_the_first_perplexity(tmp_path: Path) -> None:
    view = sample.finished(tmp_path)
    state = json.loads(leaderboard.shared_view(view))
    assert state["orderByKey"] == "metrics.`perplexity/wiki`"
    assert state["orderByAsc"] is True
    assert f"tags.`trsp.grid` = '{view.key}'" in state["searchFilter"]
    assert "params.`model`" not in state["selectedColumns"], "one model: its name says nothing"
    at_first = leaderboard.share_key(sample.story(tmp_path)[0].key)
    assert leaderboard.share_key(view.key) == at_first, "the link never changes"
