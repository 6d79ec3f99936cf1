"""MkDocs hook: pages that live elsewhere in the repository (README, model cards, CHANGELOG ...) join the site.

Links are written so that they work where the files lie; here those that lead out of `docs/` are turned to the pages of
the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PICTURES = (".png", ".svg", ".jpg", ".txt")
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/changes.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
}
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures from outside of `docs/`."""
    for source, uri in _outside().items():
        if source.suffix == ".md":
            files.append(File.generated(config, uri, content=_turned(source.read_text(encoding="utf-8"), source, uri)))
        else:
            files.append(File.generated(config, uri, abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of a page of `docs/`."""
    source = Path(config.docs_dir) / page.file.src_uri
    return _turned(markdown, source, page.file.src_uri) if source.is_file() else markdown


def _outside() -> dict[Path, str]:
    pages = {ROOT / name: uri for name, uri in PAGES.items()}
    for folder in sorted((ROOT / "bundles").glob("*/docs")):
        name = folder.parent.name
        pages[folder / "README.md"] = f"bundles/{name}.md"
        pages |= {file: f"bundles/{name}/{file.name}" for file in folder.iterdir() if file.suffix in PICTURES}
    return pages


def _turned(text: str, source: Path, uri: str) -> str:
    known = _outside()

    def turn(match: re.Match[str]) -> str:
        target = (source.parent / match[1]).resolve()
        docs = ROOT / "docs"
        there = known.get(target) or (target.relative_to(docs).as_posix() if target.is_relative_to(docs) else None)
        if there is None:
            return match[0]  # MkDocs reports it
        return f"]({posixpath.relpath(there, posixpath.dirname(uri) or '.')}{match[2] or ''})"

    return LINK.sub(turn, text)
