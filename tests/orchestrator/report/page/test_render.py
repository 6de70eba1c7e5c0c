"""The page itself: one file that loads nothing, shows names as they are, and hides credentials."""

import base64
import re
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from orchestrator.report.page.contents import contents
from orchestrator.report.page.render import html_page, markdown_page
from orchestrator.views.grid_view import CellView, GridView
from tests.orchestrator.report.page.views import finished, half_failed, just_begun

EVIL = '<script>alert("x")</script>'


class Reader(HTMLParser):
    """Takes note of the tags, attributes and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []  # tag, name, value
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def page(view: GridView) -> str:
    return html_page(contents(view), "2026-11-25 03:00 UTC")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a grid of which one cell failed."""
    return page(half_failed(tmp_path_factory.mktemp("store")))


def renamed(cell: CellView, name: str) -> CellView:
    model = replace(cell.cell.model, name=name)
    return replace(cell, cell=replace(cell.cell, name=f"{cell.cell.name} {name}", model=model))


def test_nothing_is_loaded_from_anywhere(shown: str) -> None:
    loading = {"src", "href", "xlink:href", "action", "data", "poster", "srcset", "style"}
    values = [value for _, name, value in Reader(shown).attributes if name in loading]
    assert values
    assert not [each for each in values if re.search(r"https?:|//", each, re.IGNORECASE)]
    assert "@import" not in shown
    assert not re.findall(r"url\((?!#)", shown)


def test_the_page_itself_forbids_to_load_anything(shown: str) -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', shown)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_the_policy_allows_the_pages_own_script_and_no_other(shown: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", shown, re.DOTALL)
    (allowed,) = re.findall(r"script-src '([^']*)'", shown)
    assert allowed == f"sha256-{base64.b64encode(sha256(script.encode()).digest()).decode()}"


def test_names_are_shown_as_they_are_and_never_as_markup(tmp_path: Path) -> None:
    view = finished(tmp_path)
    evil = replace(
        view,
        name=f"grid {EVIL}",
        reason=EVIL,
        cells=tuple(renamed(cell, EVIL) for cell in view.cells),
        rankings=tuple(replace(each, name=EVIL) for each in view.rankings),
    )
    reader = Reader(page(evil))
    assert reader.tags.count("script") == 1, "the page's own"
    assert reader.text.count(EVIL) > 20


def test_credentials_are_hidden_wherever_they_stand(tmp_path: Path) -> None:
    view = finished(tmp_path)
    address = "s3://ID:sesame@bucket/x?secret_key=sesame"
    cells = tuple(
        replace(cell, checkpoint_uri=address, reason=f"no answer of {address}")
        for cell in view.cells
    )
    rankings = tuple(replace(each, reason=address) for each in view.rankings)
    leaky = replace(view, cells=cells, rankings=rankings, reason=address, behind=address)
    said = contents(leaky)
    assert "s3://***@bucket/x?secret_key=***" in html_page(said, "now")
    assert "sesame" not in html_page(said, "now")
    assert "sesame" not in markdown_page(said, "now")


def test_every_section_that_is_linked_is_there(shown: str) -> None:
    reader = Reader(shown)
    ids = {value for _, name, value in reader.attributes if name == "id"}
    links = {value[1:] for tag, name, value in reader.attributes if (tag, name) == ("a", "href")}
    assert "failures" in links
    assert links <= ids


def test_no_id_stands_twice(shown: str) -> None:
    ids = [value for _, name, value in Reader(shown).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_a_column_is_sorted_by_numbers_and_not_by_their_text(shown: str) -> None:
    assert re.search(r'<td class="number" data-order="1290000">1.3M</td>', shown)


def test_a_grid_that_has_just_begun_has_a_page(tmp_path: Path) -> None:
    text = Reader(page(just_begun(tmp_path))).text
    assert "0 of 6 cells done, 6 waiting" in text
    assert "no cell has perplexity/wiki" in text


def test_markdown_has_the_same_tables(tmp_path: Path) -> None:
    view = half_failed(tmp_path)
    html = MarkdownIt("commonmark").enable("table").render(markdown_page(contents(view), "now"))
    reader = Reader(html)
    assert reader.tags.count("table") == 5, "unpruned models, cells, rankings, costs, origins"
    assert reader.tags.count("h2") == 6
    for cell in view.cells:
        assert cell.cell.name in reader.text


def test_markdown_takes_names_for_text(tmp_path: Path) -> None:
    view = finished(tmp_path)
    name = "a|b *c* `d` <b>e</b>\nf"
    cells = tuple(renamed(cell, name) for cell in view.cells)
    markdown = markdown_page(contents(replace(view, cells=cells)), "now")
    html = MarkdownIt("commonmark").enable("table").render(markdown)
    assert f"{view.cells[0].cell.name} a|b *c* `d` <b>e</b> f" in Reader(html).text
    assert "<b>" not in html
