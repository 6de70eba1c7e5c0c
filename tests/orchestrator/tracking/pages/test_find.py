"""The page of a grid, found in MLflow by the grid's name."""

from orchestrator.tracking.pages.find import grid_page
from orchestrator.tracking.tracker import MlflowTracker
from orchestrator.views.grid_view import GridView
from tests.orchestrator.tracking.reading import EXPERIMENT

BASE = "http://127.0.0.1:5000"


def test_the_page_is_the_link_that_the_driver_prints(finished: tuple[str, GridView]) -> None:
    uri, view = finished
    printed = MlflowTracker(uri, EXPERIMENT).leaderboard_url(BASE, view.key)
    assert grid_page(uri, EXPERIMENT, view.name, BASE) == printed


def test_a_grid_that_never_ran_has_no_page(finished: tuple[str, GridView]) -> None:
    assert grid_page(finished[0], EXPERIMENT, "another", BASE) is None


def test_an_experiment_that_is_not_there_has_no_page(finished: tuple[str, GridView]) -> None:
    assert grid_page(finished[0], "another", finished[1].name, BASE) is None


def test_a_name_with_a_quote_is_no_query(finished: tuple[str, GridView]) -> None:
    assert grid_page(finished[0], EXPERIMENT, "it's", BASE) is None
