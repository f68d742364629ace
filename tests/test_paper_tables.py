"""The page of both papers' runs says what the records beside it say."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

PAPERS = Path(__file__).parent.parent / "benchmarks" / "papers"
MAKER = runpy.run_path(str(PAPERS / "make_tables.py"))


def test_the_page_is_what_the_records_give() -> None:
    assert (PAPERS / "README.md").read_text("utf-8") == MAKER["render"]()


def test_weighted_figures_are_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    confusion = [[50, 10], [5, 35]]
    annotated = [row for row in range(2) for column in range(2) for _ in range(confusion[row][column])]
    predicted = [column for row in range(2) for column in range(2) for _ in range(confusion[row][column])]
    expected = metrics.precision_recall_fscore_support(annotated, predicted, average="weighted")[:3]
    assert MAKER["weighted"](confusion) == pytest.approx(expected)


@pytest.mark.parametrize(
    "folder", [folder for folder in sorted(PAPERS.iterdir()) if folder.is_dir()], ids=lambda f: f.name
)
def test_a_record_names_no_place_of_the_machine_that_made_it(folder: Path) -> None:
    if folder.name == "__pycache__":
        pytest.skip("not a record")
    for record in folder.glob("*.json"):
        assert ': "/' not in record.read_text("utf-8"), record
