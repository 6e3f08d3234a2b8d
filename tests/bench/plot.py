"""`scripts/bench plot RECORD.json DIRECTORY`: pictures of a record, the same bytes each time.

It runs in an environment of its own, which has matplotlib and nothing of this project.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from tests.bench.figures import Figure, Row, caption, figures, is_ours, servers

OUR_COLOUR = "#D55E00"
# From dark to light, so that they differ without colours, too.
COLOURS = ("#24415E", "#5F88AE", "#A3BFD9", "#8C8C8C", "#C8C8C8")
INK, PALE = "#222222", "#777777"
ROW_INCHES, GAP_ROWS, WIDTH_INCHES = 0.145, 0.9, 7.5
# Above and below the rows: title, legend and mark; axis and caption.
HEAD_INCHES, LEGEND_INCHES, FOOT_INCHES = 0.6, 0.17, 0.6
LEGEND_LETTERS = 118  # in a line
STYLE = {
    "svg.hashsalt": "gguf-server",  # names of clip paths would be random
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 8,
    "text.color": INK,
    "axes.edgecolor": PALE,
    "xtick.color": PALE,
    "ytick.color": INK,
}


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 2:
        print("plot: wants RECORD.json DIRECTORY", file=sys.stderr)
        return 2
    source, directory = map(Path, arguments)
    try:
        record = json.loads(source.read_text())
        chosen, names, below = figures(record), servers(record), caption(record)
        directory.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as exc:
        print(f"plot: {exc}", file=sys.stderr)
        return 1
    except (AttributeError, KeyError, TypeError):
        print(f"plot: {source} is no record of a benchmark; --out writes one", file=sys.stderr)
        return 1
    colours = dict(zip([name for name in names if not is_ours(name)], cycle(COLOURS), strict=False))
    with mpl.rc_context(STYLE):
        for figure in chosen:
            path = directory / f"{figure.name}.svg"
            canvas = draw(figure, colours, below)
            canvas.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
            print(path)
    return 0


def draw(figure: Figure, colours: dict[str, str], below: str) -> Canvas:
    legend = _legend(figure, colours)
    num_lines = 1 + sum(len(str(each.get_label())) + 4 for each in legend) // LEGEND_LETTERS
    head = HEAD_INCHES + num_lines * LEGEND_INCHES
    num_rows = sum(len(group.rows) + GAP_ROWS for group in figure.groups)
    height = head + FOOT_INCHES + num_rows * ROW_INCHES
    canvas = Canvas(figsize=(WIDTH_INCHES, height), facecolor="white")
    axes = canvas.add_axes((0.11, FOOT_INCHES / height, 0.74, 1 - (head + FOOT_INCHES) / height))
    _set_up(axes, figure, num_rows)
    places = _draw_groups(axes, figure, colours)
    axes.set_yticks(places, [group.name for group in figure.groups])
    canvas.text(0.015, 1 - 0.25 / height, figure.title, fontsize=9.5, fontweight="bold")
    canvas.text(0.015, 0.1 / height, below, fontsize=6.5, color=PALE)
    canvas.legend(
        handles=legend,
        loc="upper left",
        bbox_to_anchor=(0.005, 1 - 0.28 / height),
        ncols=-(-len(legend) // num_lines),
        frameon=False,
        handlelength=0.8,
        columnspacing=1.2,
        labelspacing=0.3,
    )
    return canvas


def _set_up(axes: Axes, figure: Figure, num_rows: float) -> None:
    axes.set_ylim(num_rows - GAP_ROWS / 2, -GAP_ROWS / 2)  # the first on top
    axes.set_xscale(figure.scale)
    rows = [row for group in figure.groups for row in group.rows]
    furthest = max(row.end or row.value for row in rows)
    if figure.scale == "linear":
        axes.set_xlim(0, max(furthest, figure.mark[0] if figure.mark else 0.0) * 1.02)
    else:
        axes.set_xlim(min(row.value for row in rows) / 1.3, furthest * 1.1)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    if figure.mark is not None:
        _draw_mark(axes, *figure.mark)


def _draw_mark(axes: Axes, place: float, label: str) -> None:
    axes.axvline(place, color=INK, linewidth=0.8, zorder=3)
    top = axes.get_ylim()[1]
    axes.annotate(
        label,
        (place, top),
        xytext=(0, 2),
        textcoords="offset points",
        horizontalalignment="center",
        fontsize=7,
    )


def _draw_groups(axes: Axes, figure: Figure, colours: dict[str, str]) -> list[float]:
    """The middle of each group."""
    middles, top = [], 0.0
    for group in figure.groups:
        for index, row in enumerate(group.rows):
            _draw_row(axes, row, top + index, colours.get(row.server, OUR_COLOUR))
        middles.append(top + (len(group.rows) - 1) / 2)
        top += len(group.rows) + GAP_ROWS
    return middles


def _draw_row(axes: Axes, row: Row, place: float, colour: str) -> None:
    if row.end is None:
        axes.barh(place, row.value, height=0.82, color=colour)
    else:
        axes.plot([row.value, row.end], [place, place], color=colour, linewidth=1.6)
        axes.plot(row.value, place, "o", color=colour, markersize=4)
        axes.plot(row.end, place, "|", color=colour, markersize=6, markeredgewidth=1.6)
    axes.annotate(
        row.label,
        (row.end or row.value, place),
        xytext=(5, 0),
        textcoords="offset points",
        verticalalignment="center_baseline",
        fontsize=6.5,
        fontweight="bold" if is_ours(row.server) else "normal",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},  # over the mark's line
        zorder=4,
        annotation_clip=False,
    )


def _legend(figure: Figure, colours: dict[str, str]) -> list[Line2D]:
    shown = {row.server for group in figure.groups for row in group.rows}
    ours = [name for name in sorted(shown) if is_ours(name)]
    return [
        Line2D([], [], linestyle="", marker="s", color=colours.get(name, OUR_COLOUR), label=name)
        for name in (*ours, *(name for name in colours if name in shown))
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
