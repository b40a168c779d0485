"""Explorers: a figure that moves under sliders where someone is there to drag them, and stands still where not."""

from __future__ import annotations

import os
from collections.abc import Callable

from matplotlib.figure import Figure

from reclib import plots

Draw = Callable[..., tuple[Figure, str]]


def available() -> bool:
    """Whether a person sits in front of the notebook: a front-end asked for this cell, and no run is being made."""
    if os.environ.get("RECLIB_RUN"):
        return False
    try:
        from IPython import get_ipython

        kernel = getattr(get_ipython(), "kernel", None)
        return kernel is not None and "cellId" in kernel.get_parent("shell").get("metadata", {})
    except (ImportError, KeyError, TypeError, AttributeError):
        return False


def show(draw: Draw, **controls: tuple[float, float, float, float]) -> None:
    """Show a figure with one slider a control; in batch draw it once, with the controls where they start.

    Args:
        draw: takes the controls by name and returns a figure and its alternative text.
        controls: name -> (lowest, highest, step, start).
    """
    if not available():
        plots.show(*draw(**{name: start for name, (_, _, _, start) in controls.items()}))
        return
    import ipywidgets
    from IPython.display import display

    sliders = {name: _slider(name, *control) for name, control in controls.items()}
    picture = ipywidgets.interactive_output(lambda **values: plots.show(*draw(**values)), sliders)
    display(ipywidgets.VBox([*sliders.values(), picture]))


def _slider(name: str, low: float, high: float, step: float, start: float):
    import ipywidgets

    kind = ipywidgets.IntSlider if all(float(number).is_integer() for number in (low, high, step, start)) else ipywidgets.FloatSlider
    number = int if kind is ipywidgets.IntSlider else float
    return kind(min=number(low), max=number(high), step=number(step), value=number(start), description=name.replace("_", " "),
                continuous_update=False, style={"description_width": "140px"})
