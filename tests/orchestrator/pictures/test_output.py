"""Figures as SVG and PNG: the same again, in the page's colours, names as they are."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest

from orchestrator.grid.cells import Cell
from orchestrator.pictures.album import gate_pictures, grid_pictures
from orchestrator.pictures.fronts import pareto_front
from orchestrator.pictures.output import png, svg
from orchestrator.pictures.theme import DARK, LIGHT
from orchestrator.views.grid_view import GridView
from tests.orchestrator import sample_views as sample

METRIC = "perplexity/wiki"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Every picture of a finished grid as SVG, by name."""
    view = sample.finished(tmp_path_factory.mktemp("store"))
    album = [*grid_pictures(view, (METRIC, "accuracy")), *gate_pictures(view)]
    return {each.name: svg(each.draw(), each.name) for each in album}


def named(view: GridView, name: str) -> GridView:
    """Return the view with a model of another name."""

    def renamed(cell: Cell) -> Cell:
        model = replace(cell.model, name=name)
        return replace(cell, model=model, name=f"{cell.name} {name}")

    cells = tuple(replace(each, cell=renamed(each.cell)) for each in view.cells)
    return replace(view, cells=cells)


def test_an_album_has_every_kind_of_picture(pictures: dict[str, str]) -> None:
    kinds = {name.partition("-")[0] for name in pictures}
    assert kinds == {"front", "ratio", "layers", "rank"}


def test_all_of_it_is_one_well_formed_element(pictures: dict[str, str]) -> None:
    for element in pictures.values():
        assert ElementTree.fromstring(element).tag == "{http://www.w3.org/2000/svg}svg"


def test_text_stays_text(pictures: dict[str, str]) -> None:
    assert "layer (0-based, original model)</text>" in pictures["layers"]


def test_no_two_pictures_of_a_page_share_an_id(pictures: dict[str, str]) -> None:
    ids = [each for element in pictures.values() for each in re.findall(r' id="([^"]+)"', element)]
    assert ids
    assert len(ids) == len(set(ids))


def test_what_a_picture_refers_to_is_in_it(pictures: dict[str, str]) -> None:
    for element in pictures.values():
        used = re.findall(r'(?:url\(#|href="#)([^)"]+)', element)
        assert {*used} <= {*re.findall(r' id="([^"]+)"', element)}


def test_no_colour_of_the_theme_is_fixed(pictures: dict[str, str]) -> None:
    for element in pictures.values():
        fixed = re.sub(r"var\(--[\w-]+, #[0-9a-f]{6}\)", "", element)
        assert not [colour for colour in LIGHT.values() if colour in fixed]


def test_both_themes_have_the_same_colours() -> None:
    assert LIGHT.keys() == DARK.keys()
    assert len(set(LIGHT.values())) == len(LIGHT)


def test_a_picture_styles_nothing_but_itself(pictures: dict[str, str]) -> None:
    assert not [name for name, element in pictures.items() if "<style" in element]


def test_equal_figures_give_equal_svg(tmp_path: Path) -> None:
    view = sample.finished(tmp_path)
    first, second = (svg(pareto_front(view, "params", METRIC), "x") for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a$b$_c", '"quoted" & more'])
def test_a_name_is_shown_as_it_is(tmp_path: Path, name: str) -> None:
    view = named(sample.finished(tmp_path), name)
    element = svg(pareto_front(view, "params", METRIC))
    texts = ["".join(each.itertext()) for each in ElementTree.fromstring(element).iter()]
    assert any(name in text for text in texts)
    assert "<script" not in element


def test_a_png_is_an_image(tmp_path: Path) -> None:
    assert png(pareto_front(sample.finished(tmp_path), "params", METRIC)).startswith(b"\x89PNG")


def test_drawing_leaves_matplotlibs_own_style_alone(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    svg(pareto_front(sample.finished(tmp_path), "params", METRIC))
    assert dict(matplotlib.rcParams) == before
