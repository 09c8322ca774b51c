"""Figures as one aligned table."""

from collections.abc import Collection, Sequence

from benchmarks.figures import Figure

_HEAD = ("measurement", "ours", "floor", "unit", "ratio", "aim", "met", "")
_NUMBERS = {1, 2, 4}


def table(figures: Sequence[Figure]) -> str:
    """A header, one row per figure."""
    return aligned([_HEAD, *(_row(figure) for figure in figures)], _NUMBERS)


def aligned(rows: Sequence[Sequence[str]], numbers: Collection[int]) -> str:
    """Columns as wide as their widest cell; those in `numbers` are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths, numbers) for row in rows)


def _row(figure: Figure) -> tuple[str, ...]:
    ratio = figure.ratio
    return (
        figure.name,
        _number(figure.median_ours),
        _number(figure.median_floor),
        figure.unit,
        "" if ratio is None else f"{ratio:.2f}x",
        "" if figure.aim is None else figure.aim.words(figure.unit),
        {None: "", True: "yes", False: "NO"}[figure.met],
        figure.note,
    )


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _line(row: Sequence[str], widths: Sequence[int], numbers: Collection[int]) -> str:
    cells = (
        cell.rjust(width) if column in numbers else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join(cells).rstrip()
