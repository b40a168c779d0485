"""Explorers: a figure that moves under sliders where someone is there to drag them, and stands still where not."""

from __future__ import annotations

import html
import os
from collections.abc import Callable

from matplotlib.figure import Figure

from reclib import plots

Draw = Callable[..., tuple[Figure, str]]
Control = tuple[float, float, float, float] | list
# The handle of an ipywidgets slider has no name that a screen reader could say: give it that of its label.
NAME_HANDLES = """
let left = 40;
const timer = setInterval(() => {
  for (const handle of document.querySelectorAll(".widget-hslider [role=slider]")) {
    const row = handle.closest(".widget-hslider");
    handle.setAttribute("aria-label", row.querySelector("label")?.textContent ?? "");
    row.querySelector("[contenteditable]")?.setAttribute("aria-label", `${row.querySelector("label")?.textContent}, as a number`);
  }
  if (--left < 0) clearInterval(timer);
}, 250);
"""


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


def starts(controls: dict[str, Control]) -> dict[str, object]:
    """Where the controls stand before anyone moves them: the start of a slider, the first of a list."""
    return {name: control[0] if isinstance(control, list) else control[3] for name, control in controls.items()}


def show(draw: Draw, **controls: Control) -> None:
    """Show a figure and what it says under one control a name; in batch draw it once, with the controls where they start.

    Args:
        draw: takes the controls by name and returns a figure and its alternative text, which stands below it too.
        controls: name -> (lowest, highest, step, start) for a slider, or a list of choices, the first one chosen.
    """
    if not available() or not controls:
        _put(*draw(**starts(controls)), is_live=False)
        return
    import ipywidgets
    from IPython.display import Javascript, display

    widgets = {name: _widget(name, control) for name, control in controls.items()}
    picture = ipywidgets.interactive_output(lambda **values: _put(*draw(**values), is_live=True), widgets)
    display(ipywidgets.VBox([*widgets.values(), picture]))
    display(Javascript(NAME_HANDLES))


def _put(fig: Figure, words: str, *, is_live: bool) -> None:
    from IPython.display import display

    plots.show(fig, words, is_live=is_live)
    text = html.escape(words, quote=False)
    for sign in "\\`*_$[]":
        text = text.replace(sign, "\\" + sign)
    display({"text/markdown": text, "text/plain": words}, raw=True)


def _widget(name: str, control: Control):
    import ipywidgets

    look = {"description": name.replace("_", " "), "style": {"description_width": "150px"}, "layout": {"width": "460px"}}
    if isinstance(control, list):
        return ipywidgets.Dropdown(options=[(str(choice), choice) for choice in control], value=control[0], **look)
    kind = ipywidgets.IntSlider if all(float(number).is_integer() for number in control) else ipywidgets.FloatSlider
    number = int if kind is ipywidgets.IntSlider else float
    low, high, step, start = (number(each) for each in control)
    return kind(min=low, max=high, step=step, value=start, continuous_update=False, **look)
