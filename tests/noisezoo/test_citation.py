"""Whose claims are tested is said alike wherever it is said."""

from pathlib import Path

import pytest

from noisezoo.citation import AUTHORS, BIBTEX, CODE_URL, DATASET_URL, PAPER_URL

HOUSE = Path(__file__).parents[2]


def test_the_readme_names_the_authors_their_code_and_their_dataset_and_cites_the_paper() -> None:
    readme = " ".join((HOUSE / "README.md").read_text().split())
    assert all(author in readme for author in AUTHORS)
    assert all(url in readme for url in (PAPER_URL, CODE_URL, DATASET_URL))
    assert BIBTEX in (HOUSE / "README.md").read_text()


@pytest.mark.parametrize("page", ["dataset_card.md", "analysis/report/templates/report.html.j2"])
def test_pages_take_names_and_links_from_one_place(page: str) -> None:
    text = (HOUSE / page).read_text()
    assert "2603.21786" not in text
    assert "Tasker" not in text
    assert ".authors" in text
    assert ".dataset" in text
    assert ".code" in text


def test_the_citation_has_every_author_in_full() -> None:
    for author in AUTHORS:
        first, _, last = author.partition(" ")
        assert f"{last.split()[-1]}, {first}" in BIBTEX
