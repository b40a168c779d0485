"""What all figures share: theme and palette, an empty figure, rows with names, and the way onto the page."""

from __future__ import annotations

import base64
import html
import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import matplotlib.pyplot as plt
import numpy as np
import seaborn
from matplotlib import ticker
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#6b7280"
LONGEST_NAME = 44
FEW_DECADES = 2.5
N_TICKS = 5
UNSEEN = (-0.055, 0.055)  # limits that matplotlib gives to an axis without data
APART = 11.0

# Names come from data: a dollar sign in one is no formula.
seaborn.set_theme(style="whitegrid", palette=PALETTE, font="DejaVu Sans", rc={
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#1a1d21", "grid.color": "#e5e7eb", "axes.titlelocation": "left",
    "axes.titley": 1.0,
    "axes.titlesize": 11, "axes.labelsize": 10, "xtick.labelsize": 9.5, "ytick.labelsize": 9.5, "legend.fontsize": 9.5, "font.size": 10,
    "xtick.bottom": True, "text.parse_math": False, "svg.hashsalt": "reclib",
})


def figure(*, title: str, x: str, y: str, width: float = 7.0, height: float = 3.5) -> tuple[Figure, plt.Axes]:
    """Make an empty figure with a title that names what is shown and units on both axes."""
    fig, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.set(title=title, xlabel=x, ylabel=y)
    return fig, axes


def panels(n: int, *, width: float, height: float, **options: object) -> tuple[Figure, np.ndarray]:
    """Make a row of empty panels, or empty those of the stage that is being played on."""
    stage = _PLAYED.get()
    if stage is not None and stage.fig is not None:
        return stage.emptied()
    fig, axes = plt.subplots(1, n, figsize=(width, height), layout="constrained", **options)
    for panel in fig.axes:
        panel.locator_params(nbins=N_TICKS)
    if stage is not None:
        stage.fig = fig
    return fig, axes


class Stage:
    """A figure that stays while sliders move: ticks and margins are made once, what they frame is drawn anew.

    Making ticks and finding margins takes longer than all the rest of a small figure.
    """

    def __init__(self) -> None:
        self.fig: Figure | None = None

    @contextmanager
    def played(self) -> Iterator[None]:
        """Inside, `panels` gives this figure."""
        token = _PLAYED.set(self)
        try:
            yield
        finally:
            _PLAYED.reset(token)

    def emptied(self) -> tuple[Figure, np.ndarray]:
        """The figure without what was drawn, its margins as they were found at first."""
        self.fig.set_layout_engine("none")
        for drawn in ("legends", "containers", "lines", "patches", "collections", "texts"):
            for place in (self.fig, *self.fig.axes):
                for artist in [*getattr(place, drawn, ())]:
                    artist.remove()
        for axes in self.fig.axes:
            axes.legend_ = None
            axes.xaxis.set_label_coords(*axes.xaxis.label.get_position(), transform=axes.xaxis.label.get_transform())
            axes.relim()
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_view_interval(*UNSEEN if axis.get_scale() != "log" else (1, 10), ignore=True)
            axes.autoscale(True)
        return self.fig, np.array(self.fig.axes)


_PLAYED: ContextVar[Stage | None] = ContextVar("played", default=None)


def nothing(why: str) -> Figure:
    """A strip that says why there is no figure."""
    fig, axes = plt.subplots(figsize=(7.0, 0.6), layout="constrained")
    axes.axis("off")
    axes.text(0.0, 0.5, why, va="center", color=GREY, transform=axes.transAxes)
    return fig


def short(name: object, longest: int = LONGEST_NAME) -> str:
    """A name of the data as it stands in a figure: one line, cut where it is too long."""
    text = " ".join(str(name).split())
    return text if len(text) <= longest else f"{text[:longest - 1]}…"


def rows(axes: plt.Axes, names: Iterable[object]) -> np.ndarray:
    """Give each name a row of its own, the first on top, and return their places; equal names stay apart."""
    labels = [short(name) for name in names]
    at = np.arange(len(labels))
    axes.set_yticks(at, labels)
    axes.set_ylim(max(len(labels), 2) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    return at


def look(index: int) -> tuple[str, str]:
    """Colour and marker of a series: no two of the first 42 are the same."""
    return PALETTE[index % len(PALETTE)], MARKERS[(index + index // len(PALETTE)) % len(MARKERS)]


def name_ends(axes: plt.Axes, ends: list[tuple[object, object, float]]) -> None:
    """Write each line's name at its end; where ends meet, names are pushed apart, but not out of the panel."""
    axes.autoscale_view()
    points = 72 / axes.figure.dpi
    height = points * axes.transData.transform([(0.0, end[2]) for end in ends])[:, 1] if ends else np.array([])
    place, last = height.copy(), -np.inf
    for index in np.argsort(height, kind="stable"):
        place[index] = last = max(height[index], last + APART)
    place -= max(last - points * axes.bbox.y1, 0)
    for index, (name, where, value) in enumerate(ends):
        axes.annotate(short(name, 24), (where, value), xytext=(7, place[index] - height[index]), textcoords="offset points",
                      color=look(index)[0], va="center", fontsize=9.5)


def show(fig: Figure, alt: str, *, is_live: bool = False) -> None:
    """Put a figure on the page as a small PNG with its alternative text; one without data is left out.

    Args:
        fig: the figure; it is closed.
        alt: what the figure shows, in a sentence, numbers included.
        is_live: someone waits for it: quick rather than small.

    Raises:
        ValueError: the alternative text is empty.
    """
    from IPython.display import display

    if not alt.strip():
        raise ValueError("alt == '', must say what the figure shows.")
    if not any(np.isfinite(axes.dataLim.get_points()).all() for axes in fig.axes):
        plt.close(fig)
        return
    for axes in fig.axes:
        _write_logs_plainly(axes.xaxis)
        _write_logs_plainly(axes.yaxis)
    with warnings.catch_warnings():
        # A sign that no font here has, such as an emoji, is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        data = {"text/html": _live_image(fig, alt)} if is_live else {"image/png": _png(fig)}
    plt.close(fig)
    display(data | {"text/plain": alt}, metadata={"image/png": {"alt": alt}}, raw=True)


def _write_logs_plainly(axis: Axis) -> None:
    """Write 1, 2, 5, 10 at a log axis, or powers alone where there are many: never 3×10¹ over 4×10¹."""
    if axis.get_scale() != "log":
        return
    low, high = axis.get_view_interval()
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if np.log10(high / low) < FEW_DECADES else (1,)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _plain(value)))
    axis.set_minor_formatter(ticker.NullFormatter())


def _plain(value: float) -> str:
    """A number as it stands at an axis: 0.5, 2,000, 20k, 3M."""
    size, sign = (1e6, "M") if value >= 1e6 else (1e3, "k") if value >= 1e4 else (1, "")
    return f"{value / size:,.12g}{sign}"


def _png(fig: Figure) -> bytes:
    from PIL import Image

    raw, small = io.BytesIO(), io.BytesIO()
    fig.savefig(raw, format="png", dpi=150)
    Image.open(raw).convert("RGB").quantize(64).save(small, format="png", optimize=True)
    return small.getvalue()


def _live_image(fig: Figure, alt: str) -> str:
    """An image with its words: JupyterLab leaves out those of a bare PNG."""
    from PIL import Image

    raw, canvas = io.BytesIO(), FigureCanvasAgg(fig)
    canvas.draw()  # once, where savefig would lay out and draw twice
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(raw, format="png", compress_level=1)
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{base64.b64encode(raw.getvalue()).decode()}">'
