"""The table for a paper compiles, and no name in it is a command of LaTeX."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from edgegender.errors import UsageError
from edgegender.reporting.latex import escape_latex, render_latex
from tests.reporting.test_tables import PARITY, ROW

EVIL = "50%_{a}&#$^~\\input{/etc/passwd} “é” [x] *†"


def body_of(text):
    return text.split("\\midrule\n")[1].split("\\bottomrule")[0].strip().splitlines()


def test_the_table_has_booktabs_rules_a_caption_a_label_and_units_in_the_header():
    text = render_latex([ROW], caption="Speed & accuracy")
    for part in (
        "\\begin{sidewaystable}",
        "\\caption{Speed \\& accuracy. 95\\,\\% intervals in brackets.}",
        "\\label{tab:edgegender}",
        "\\toprule",
        "\\end{sidewaystable}",
    ):
        assert part in text
    header = text.split("\\toprule\n")[1].splitlines()[0]
    assert "size (MB) & accuracy (\\%) & F1 (\\%) & target & engine" in header
    assert "p50 (ms) & p90 (ms) & p99 (ms) & runs/s & peak (MB)" in header


def test_each_row_has_a_cell_for_each_column():
    text = render_latex([replace(ROW, parity=PARITY, batch_size=8), ROW], caption="x")
    shape = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)[1]
    header = text.split("\\toprule\n")[1].splitlines()[0]
    for line in (header, *body_of(text)):
        assert line.endswith(" \\\\")
        assert len(re.split(r"(?<!\\)&", line)) == len(shape)


def test_notes_are_numbered_and_cited():
    text = render_latex([ROW], caption="x")
    assert body_of(text)[0].endswith("\\textsuperscript{1,2,3,4,5} \\\\")
    assert "\\textsuperscript{5}~Warning: p99 is 1.60 times p50.\\par" in text
    assert "\\textsuperscript{2}~Model: edge, file edge.tflite" in text


def test_no_name_is_a_command():
    text = render_latex([replace(ROW, model=EVIL, machine=EVIL, warnings=(EVIL,))], caption=EVIL)
    assert "\\input" not in text
    assert "50\\%\\_\\{a\\}\\&\\#\\$\\textasciicircum{}\\textasciitilde{}\\textbackslash{}input" in text
    assert escape_latex("a\nb") == "a b"


def test_a_row_that_begins_with_a_bracket_does_not_belong_to_the_line_before():
    rows = [ROW, replace(ROW, model="[x]"), replace(ROW, model="*x")]
    assert [line[:3] for line in body_of(render_latex(rows, caption="x"))] == ["edg", "{}[", "{}*"]


def test_other_data_carries_a_dagger_and_its_meaning():
    text = render_latex([ROW, replace(ROW, data_sha256="ef" * 32)], caption="x")
    assert "5,130 \\dag{}" in text
    assert "\\dag{} Measured on other photos than the first row" in text


def test_no_row_is_refused():
    with pytest.raises(UsageError, match="Expected results for a table, got none"):
        render_latex([], caption="x")


def test_latex_takes_it(tmp_path):
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("no pdflatex: apt-get install texlive-latex-extra")
    table = render_latex([replace(ROW, model=EVIL, parity=PARITY), ROW], caption=EVIL)
    (tmp_path / "table.tex").write_text(table, encoding="utf-8")
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs,graphicx,rotating}"
        "\\begin{document}\\input{table}\\end{document}",
        encoding="utf-8",
    )
    command = [program, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
