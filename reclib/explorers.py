"""Explorers: a figure that moves under sliders where someone is there to drag them, and stands still where not."""

from __future__ import annotations

import gc
import html
import os
import platform
from collections.abc import Callable
from typing import Protocol

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reclib import plots

Draw = Callable[..., tuple[Figure, str]]
Control = tuple[float, float, float, float] | list


class Explorer(Protocol):
    """What can be explored: controls by name, and a figure with its words for their values."""

    controls: dict[str, Control]
    draw: Draw


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
    picture = ipywidgets.interactive_output(mover(draw), widgets)
    display(ipywidgets.VBox([*widgets.values(), picture]))
    display(Javascript(NAME_HANDLES))


def mover(draw: Draw) -> Callable[..., None]:
    """What one move of a control does: draw again on the same stage, and show it quickly."""
    # What stands before the first move need not be searched for garbage in the middle of a later one.
    gc.collect()
    gc.freeze()
    stage = plots.Stage()

    def move(**values: object) -> None:
        with stage.played():
            fig, words = draw(**values)
        _put(fig, words, is_live=True)

    return move


def moves(control: Control, *, most: int = 21) -> list:
    """Every place that a control can be moved to, or so many evenly along a longer slider."""
    if isinstance(control, list):
        return control
    low, high, step, _ = control
    n_steps = round((high - low) / step)
    places = np.unique(np.linspace(0, n_steps, min(most, n_steps + 1)).round())
    return [_number(control)(round(low + step * place, 9)) for place in places]


def pace(explored: dict[str, Explorer], *, clocks: dict[str, Callable[[], float]], most: int = 21) -> pd.DataFrame:
    """Make each single move of each control, the others where they start, and time it from the new value to the picture.

    Args:
        explored: name -> explorer.
        clocks: name -> a clock in seconds, such as `time.perf_counter`.
        most: moves of one control.

    Returns:
        explorer, control, value, and the milliseconds of each clock. The first explorer is `nothing`: two empty panels made, drawn
        and encoded anew at each move, the floor under any figure that does not stay.
    """
    from IPython.utils.capture import capture_output

    timed = []
    for name, controls, move in [("nothing", {"panels": [2] * 9}, _draw_nothing),
                                 *((name, each.controls, mover(each.draw)) for name, each in explored.items())]:
        start = starts(controls)
        with capture_output():
            move(**start)
        for control, place in [(control, place) for control, places in controls.items() for place in moves(places, most=most)]:
            with capture_output():
                before = [clock() for clock in clocks.values()]
                move(**(start | {control: place}))
                after = [clock() for clock in clocks.values()]
            took = {clock: 1000 * (end - begin) for clock, begin, end in zip(clocks, before, after)}
            timed.append({"explorer": name, "control": control, "value": str(place)} | took)
    return pd.DataFrame(timed)


def paces(timed: pd.DataFrame, *, by: list[str], clock: str) -> pd.DataFrame:
    """Median and worst move of a `pace` table by explorer (or control), and the median as a ratio to that of `nothing`."""
    floor = timed.loc[timed["explorer"] == "nothing", clock].median()
    table = timed.groupby(by, sort=False)[clock].agg(n_moves="size", median="median", worst="max").reset_index()
    return table.assign(ratio=table["median"] / floor)


def pace_sentence(table: pd.DataFrame, *, limit: float, clock: str) -> str:
    """Say whether every move of every explorer stays under a limit in milliseconds."""
    own = table[table["explorer"] != "nothing"]
    late = own.loc[own["worst"] > limit, "explorer"].tolist()
    slow = own.loc[own["worst"].idxmax()]
    held = f"past {limit:g} ms went {', '.join(late)}" if late else f"each of the {len(own)} explorers answers within {limit:g} ms"
    return (f"Of {own['n_moves'].sum():,} moves the slowest took {slow['worst']:,.0f} ms ({slow['explorer']}, {clock}): {held}. "
            f"Their medians are {own['ratio'].min():.2f} to {own['ratio'].max():.2f} of two empty panels made anew.")


def machine(clock: Callable[[], float]) -> str:
    """Say what this machine is: its processors, and how long ten million additions of plain Python take it."""
    begin, total = clock(), 0
    for number in range(10_000_000):
        total += number
    return f"{platform.machine()}, {os.cpu_count()} processors; ten million additions in Python take {clock() - begin:.1f} s of one."


def _draw_nothing(*, panels: int) -> None:
    fig, axes = plots.panels(panels, width=8.4, height=3.2)
    for panel in axes:
        panel.plot([0, 1], [0, 1])
    _put(fig, "Two empty panels.", is_live=True)


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
    number = _number(control)
    kind = ipywidgets.IntSlider if number is int else ipywidgets.FloatSlider
    low, high, step, start = (number(each) for each in control)
    return kind(min=low, max=high, step=step, value=start, continuous_update=False, **look)


def _number(control: tuple[float, ...]) -> type:
    return int if all(float(number).is_integer() for number in control) else float
