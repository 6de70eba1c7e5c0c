"""What the site's generator is told: the pages and files outside of docs/, and links to them.

In the site, docs/ is the top: README is its front page, and jobs/demo.yaml lies beside it.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TOP_PAGES = {path: path for path in ("CONTRIBUTING.md", "CHANGELOG.md")} | {"README.md": "index.md"}
ASSETS = ("site.css", "iframe-worker.js")
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
FOREIGN = re.compile(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the top, the site's own assets, and the files that pages link to."""
    outside = {name: ROOT / path for path, name in TOP_PAGES.items()}
    outside |= {name: HERE / name for name in ASSETS}
    for page in (*files.documentation_pages(), *TOP_PAGES.values()):
        source = _repository_path(page if isinstance(page, str) else page.src_uri)
        for link, _ in LINK.findall((ROOT / source).read_text("utf-8")):
            target = _led_to(source, link)
            if (ROOT / target).is_file():
                outside.setdefault(_site_path(target), ROOT / target)
    for name, path in outside.items():
        if files.get_file_from_path(name) is None:
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with its links as the site's folders have them."""
    source = _repository_path(page.file.src_uri)
    here = posixpath.dirname(page.file.src_uri) or "."

    def moved(match: re.Match[str]) -> str:
        target = posixpath.relpath(_site_path(_led_to(source, match[1])), here)
        return f"]({target}{match[2] or ''})"

    return LINK.sub(moved, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Return the page as it is; PluginError where a browser would load from elsewhere for it."""
    if found := FOREIGN.search(output):
        raise PluginError(f"{page.file.src_uri} loads from elsewhere: {found[0]}")
    return output


def _repository_path(name: str) -> str:
    """Return where a page of the site lies in the repository."""
    return {page: path for path, page in TOP_PAGES.items()}.get(name, f"docs/{name}")


def _site_path(path: str) -> str:
    """Return where a file of the repository lies in the site."""
    return TOP_PAGES.get(path, path.removeprefix("docs/"))


def _led_to(source: str, link: str) -> str:
    """Return the path in the repository that a link of the page ``source`` leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
