"""The documentation site is complete, whole, and served from one host."""

from pathlib import Path

import pytest

from docs.generators import diagrams, site

NAV = '[project]\nnav = [{ "Home" = "index.md" }, { "More" = ["a.md", "gone.md"] }]\n'


def test_a_page_outside_the_navigation_and_an_entry_without_a_page_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = tmp_path / "docs"
    pages.mkdir()
    for name in ("index.md", "a.md", "forgotten.md"):
        (pages / name).write_text("# Title\n")
    (tmp_path / "zensical.toml").write_text(NAV)
    monkeypatch.setattr(site, "ROOT", tmp_path)
    monkeypatch.setattr(site, "PAGES", pages)
    assert site.navigation_problems() == [
        "forgotten.md: not in the navigation of zensical.toml",
        "gone.md: in the navigation, but no page",
    ]


@pytest.mark.parametrize(
    ("tag", "counts"),
    [
        ('<script src="https://cdn.example/a.js"></script>', True),
        ('<link rel="stylesheet" href=//fonts.example/a.css>', True),
        ('<img alt="" src="https://pictures.example/a.png">', True),
        ('<script src="assets/a.js"></script>', False),
        ('<a href="https://ag2.ai">AG2</a>', False),
    ],
)
def test_what_a_page_loads_from_another_host_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: str, *, counts: bool
) -> None:
    (tmp_path / "page.html").write_text(f"<html>{tag}</html>")
    monkeypatch.setattr(site, "SITE", tmp_path)
    assert bool(site.loads_from_other_hosts()) is counts


def test_a_diagram_that_changed_since_it_was_rendered_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "flow.mmd"
    source.write_text("flowchart LR\n  a --> b\n")
    monkeypatch.setattr(diagrams, "FOLDER", tmp_path)
    assert diagrams.differences() == ["flow.mmd"]
    source.with_suffix(".svg").write_text(f"<svg/><!-- {diagrams._digest(source)} -->")
    assert diagrams.differences() == []
    source.write_text("flowchart LR\n  a --> c\n")
    assert diagrams.differences() == ["flow.mmd"]


@pytest.mark.parametrize(
    ("link", "code"),
    [("[other](other.md#title)", 0), ("[other](gone.md)", 1), ("[other](other.md#gone)", 1)],
)
def test_a_broken_link_or_anchor_fails_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str, code: int
) -> None:
    pages = tmp_path / "docs"
    pages.mkdir()
    (pages / "index.md").write_text(f"# Home\n\n{link}\n")
    (pages / "other.md").write_text("# Title\n")
    settings = 'site_name = "x"\nsite_dir = "site"\n'
    (tmp_path / "zensical.toml").write_text(f"[project]\n{settings}")
    monkeypatch.setattr(site, "ROOT", tmp_path)
    monkeypatch.setattr(site, "SITE", tmp_path / "site")
    assert site.build() == code


def test_the_documentation_has_the_pages_that_the_design_document_links_to() -> None:
    linked = (
        "overview/architecture.md",
        "overview/lifecycle.md",
        "overview/tenancy_and_security.md",
        "runtime/event_pipeline.md",
        "runtime/transport_and_streaming.md",
        "runtime/persistence_and_resume.md",
        "runtime/observability.md",
        "runtime/configuration_reference.md",
        "operations/troubleshooting.md",
        "reference/api_endpoints.md",
    )
    assert [path for path in linked if not (site.PAGES / path).is_file()] == []
    assert site.navigation_problems() == []
