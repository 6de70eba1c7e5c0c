"""What the site's generator is told: pages and files that lie outside of docs/, and their links."""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TOP_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md"}
TOP_PAGES["CHANGELOG.md"] = "CHANGELOG.md"
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
FOREIGN = re.compile(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the top, the files that pages link to (jobs/demo.yaml), and the style."""
    for path, name in TOP_PAGES.items():
        files.append(File.generated(config, name, content=(ROOT / path).read_text("utf-8")))
    for name in ("site.css", "iframe-worker.js"):
        files.append(File.generated(config, name, abs_src_path=str(HERE / name)))
    pages = [*((name, name) for name in TOP_PAGES), *_pages_of_docs(files)]
    for path, _ in pages:
        text = (ROOT / path).read_text("utf-8")
        for link, _ in LINK.findall(text):
            _add_linked(
                posixpath.normpath(posixpath.join(posixpath.dirname(path), link)), files, config
            )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with links as the site's folders have them, where docs/ is the top."""
    sources = {name: path for path, name in TOP_PAGES.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        here = posixpath.dirname(page.file.src_uri) or "."
        return f"]({posixpath.relpath(_site_name(target), here)}{match[2] or ''})"

    return LINK.sub(moved, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Return the page as it is; PluginError where a browser would load from elsewhere for it."""
    if found := FOREIGN.search(output):
        raise PluginError(f"{page.file.src_uri} loads from elsewhere: {found[0]}")
    return output


def _pages_of_docs(files: Files) -> list[tuple[str, str]]:
    return [
        (f"docs/{file.src_uri}", file.src_uri)
        for file in files.documentation_pages()
        if file.src_uri not in TOP_PAGES.values()
    ]


def _site_name(path: str) -> str:
    """Return where a file of the repository lies in the site."""
    return TOP_PAGES.get(path, path.removeprefix("docs/"))


def _add_linked(path: str, files: Files, config: MkDocsConfig) -> None:
    """Take up a file of the repository that a page links to, unless it is a page or there."""
    name = _site_name(path)
    if (ROOT / path).is_file() and files.get_file_from_path(name) is None:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
