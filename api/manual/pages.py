"""The manual: pages written in Markdown, and one made of the error tree, as HTML that needs nothing from outside."""

from __future__ import annotations

import html
from functools import cache
from pathlib import Path
from string import Template

from markdown_it import MarkdownIt

from api.manual import error_catalogue
from shared.errors import NotFound

PAGES = Path(__file__).parents[1] / "pages"


@cache
def landing() -> str:
    """What there is to read."""
    text = Template(_read(PAGES / "index.md"))
    return _page(text.substitute(guides=_links("Guides", "guides"), clients=_links("Clients", "clients")))


@cache
def errors() -> str:
    """The error catalogue."""
    return _page(Template(_read(PAGES / "errors.md")).substitute(table=error_catalogue.table()))


@cache
def page(folder: str, name: str) -> str:
    """A page of `guides` or `clients`. Raises `NotFound`."""
    if name not in names(folder):
        raise NotFound("There is no such page: GET /docs lists them.")
    return _page(_read(PAGES / folder / f"{name}.md"))


def names(folder: str) -> list[str]:
    """The pages that are there, as they are called in a path."""
    return sorted(path.stem for path in (PAGES / folder).glob("*.md"))


def _links(heading: str, folder: str) -> str:
    """A section, where there are pages."""
    titles = {name: _title(_read(PAGES / folder / f"{name}.md")) for name in names(folder)}
    links = [f"- [{title}](/docs/{folder}/{name})" for name, title in titles.items()]
    return "\n".join([f"## {heading}", "", *links] if links else [])


def _page(markdown: str) -> str:
    """HTML in the markdown is shown, never passed on."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    return Template(_read(PAGES / "page.html")).substitute(
        title=html.escape(_title(markdown).replace("`", "")), body=body
    )


def _title(markdown: str) -> str:
    return markdown.partition("\n")[0].removeprefix("#").strip()


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
