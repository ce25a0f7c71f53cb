"""The manual: Markdown pages and a page made from the error tree, as HTML that loads nothing from elsewhere."""

from __future__ import annotations

import html
from functools import cache
from pathlib import Path
from string import Template

from markdown_it import MarkdownIt

from api.manual import error_catalogue
from api.manual import fields as field_outcomes
from shared.catalogue.models import Catalogue
from shared.errors import NotFound
from shared.settings import Settings

PAGES = Path(__file__).parents[1] / "pages"
FOLDERS = {"guides": "Guides", "clients": "Clients"}
"""Folders of pages, each with the title of the page that lists them."""
EXAMPLE_URL = "http://localhost:8080"
"""The address in examples, unless `PUBLIC_URL` is set (`at`)."""


@cache
def landing(at: str | None = None) -> str:
    """The first page."""
    text = Template(_read(PAGES / "index.md"))
    sections = {folder: f"## [{title}](/docs/{folder})\n\n{_links(folder)}" for folder, title in FOLDERS.items()}
    return _page(text.substitute(sections | {"address": _address(at)}))


@cache
def index(folder: str, at: str | None = None) -> str:
    """The page that lists the pages of `guides` or `clients`."""
    return _page(f"# {FOLDERS[folder]}\n\n{_address(at)}{_links(folder)}")


@cache
def errors() -> str:
    """The page with the error catalogue."""
    return _page(Template(_read(PAGES / "errors.md")).substitute(table=error_catalogue.table()))


@cache
def billing() -> str:
    """The page `/docs/billing`: what a request costs, however it ends."""
    return _page(_read(PAGES / "billing.md"))


@cache
def fields(catalogue: Catalogue, settings: Settings) -> str:
    """The page `/docs/fields`: what becomes of the fields of OpenAI's and Anthropic's APIs with each class of model."""
    return _page(Template(_read(PAGES / "fields.md")).substitute(tables=field_outcomes.tables(catalogue, settings)))


@cache
def page(folder: str, name: str, at: str | None = None) -> str:
    """A page of `guides` or `clients`. Raises `NotFound`."""
    if name not in names(folder):
        raise NotFound("There is no such page: GET /docs lists them.")
    return _page(_read(PAGES / folder / f"{name}.md").replace(EXAMPLE_URL, at or EXAMPLE_URL))


def names(folder: str) -> list[str]:
    """The names of the folder's pages, as in their paths."""
    return sorted(path.stem for path in (PAGES / folder).glob("*.md"))


def _address(at: str | None) -> str:
    return f"This service's address is `{at}`.\n\n" if at else ""


def _links(folder: str) -> str:
    """A list of the folder's pages, in Markdown."""
    titles = {name: _title(_read(PAGES / folder / f"{name}.md")) for name in names(folder)}
    return "\n".join(f"- [{title}](/docs/{folder}/{name})" for name, title in titles.items())


def _page(markdown: str) -> str:
    """The page as HTML; HTML in the Markdown is escaped."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    return Template(_read(PAGES / "page.html")).substitute(
        title=html.escape(_title(markdown).replace("`", "")), body=body
    )


def _title(markdown: str) -> str:
    return markdown.partition("\n")[0].removeprefix("#").strip()


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
