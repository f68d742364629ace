"""The table for a paper: LaTeX with booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from edgegender.reporting.tables import (
    OTHER_DATA_MARK,
    Column,
    TableRow,
    clean_text,
    explain,
    number_notes,
    require_rows,
    table_columns,
)

LABEL = "tab:edgegender"
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "–": "--",
    "—": "---",
    "×": r"\ensuremath{\times}",
    "±": r"\ensuremath{\pm}",
    "µ": r"\ensuremath{\mu}",
    "°": r"\ensuremath{^\circ}",
    "…": r"\ldots{}",
    OTHER_DATA_MARK: r"\dag{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}
_PREAMBLE = (
    "% Needs \\usepackage{booktabs,graphicx,rotating}, and \\usepackage[T1]{fontenc}.",
    "% A table in an upright page: replace sidewaystable by table.",
)


def escape_latex(text: str) -> str:
    r"""Returns text in which no character is a command of LaTeX.

    Letters beyond ASCII stay as they are: LaTeX reads UTF-8 since 2018.

    Example:
        >>> print(escape_latex("50_% {a}"))
        50\_\% \{a\}
    """
    return "".join(_SPECIAL.get(letter, letter) for letter in clean_text(text))


def _header(column: Column) -> str:
    name, _, unit = column.name.rpartition(" ")
    if unit in ("ms", "MB", "px", "%") and name:
        return f"{escape_latex(name)} ({escape_latex(unit)})"
    return escape_latex(column.name)


def _notes(rows: Sequence[TableRow], notes: Sequence[str]) -> list[str]:
    lines = [f"{escape_latex(paragraph)}\\par" for paragraph in explain(rows)]
    numbered = enumerate(notes, start=1)
    return [*lines, *(f"\\textsuperscript{{{number}}}~{escape_latex(note)}.\\par" for number, note in numbered)]


def render_latex(rows: Sequence[TableRow], *, caption: str) -> str:
    r"""Returns a float with caption, label, table and notes, to be put into a paper with ``\input``.

    It stands sideways, and shrinks to the text's width: a dozen columns and more do not fit an upright page.

    Args:
        rows: At least one.
        caption: Plain text, without the full stop.

    Raises:
        UsageError: There is no row.
    """
    require_rows(rows)
    columns = table_columns(rows)
    cited, notes = number_notes(rows)
    body = []
    for row, numbers in zip(rows, cited, strict=True):
        cells = [escape_latex(column.cell(row)) for column in columns]
        cells.append(f"\\textsuperscript{{{','.join(map(str, numbers))}}}")
        guard = "{}" if cells[0].startswith(("[", "*")) else ""  # else the line end before would take it for its own
        body.append(f"{guard}{' & '.join(cells)} \\\\")
    shape = "".join("l" if column.is_text else "r" for column in columns) + "l"
    lines = [
        *_PREAMBLE,
        r"\begin{sidewaystable}",
        r"\centering",
        f"\\caption{{{escape_latex(caption)}. 95\\,\\% intervals in brackets.}}",
        f"\\label{{{LABEL}}}",
        r"\resizebox{\textwidth}{!}{%",
        f"\\begin{{tabular}}{{{shape}}}",
        r"\toprule",
        f"{' & '.join([*map(_header, columns), 'notes'])} \\\\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
        r"\par\smallskip\footnotesize\raggedright",
        *_notes(rows, notes),
        r"\end{sidewaystable}",
    ]
    return "\n".join(lines) + "\n"
