"""Parameters: which a notebook declares, and whether what was asked for fits, before any cell runs.

Papermill only warns of an unknown parameter and injects whatever it is given; here the whole request is held against
the `parameters` cells of the notebooks to be run, and every fault is named at once.
"""

from __future__ import annotations

import ast
import functools
import logging
from dataclasses import dataclass
from pathlib import Path

import yaml

from reclib.workflow.plan import Notebook, PlanError, find, nearest

SCENARIO_KEYS = ("source", "parameters", "notebooks")


@dataclass(frozen=True)
class Parameter:
    """A parameter as its notebook declares it: name, type as written, default, meaning."""

    name: str
    type: str
    default: object
    about: str


@dataclass(frozen=True)
class Scenario:
    """What a scenario file asks for: a source, parameters of all notebooks, and of single ones."""

    source: str | None
    parameters: dict[str, object]
    notebooks: dict[str, dict[str, object]]


@functools.cache
def declared(path: Path) -> dict[str, Parameter]:
    """Read the parameters that a notebook declares."""
    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)
    found = papermill.inspect_notebook(str(path))
    return {
        name: Parameter(name, each["inferred_type_name"], _literal(each["default"]), each["help"])
        for name, each in found.items()
    }


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def split(assignments: tuple[str, ...]) -> dict[str, str]:
    """Split `name=value` texts; the value stays a text until its type is known."""
    values = {}
    for assignment in assignments:
        name, sign, value = assignment.partition("=")
        if not sign or not name.strip():
            raise PlanError(f"-p {assignment!r}: must be name=value.")
        values[name.strip()] = value
    return values


def read_scenario(path: Path) -> Scenario:
    """Read a scenario file: `source`, `parameters`, and `notebooks` with the parameters of single ones."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise PlanError(f"scenario {path}: cannot be read ({error.strerror}).") from error
    except yaml.YAMLError as error:
        raise PlanError(f"scenario {path}: not YAML ({' '.join(str(error).split())}).") from error
    if not isinstance(content, dict):
        raise PlanError(f"scenario {path}: must be a record with any of {', '.join(SCENARIO_KEYS)}.")
    unknown = [str(key) for key in content if key not in SCENARIO_KEYS]
    if unknown:
        raise PlanError(f"scenario {path}: unknown keys {', '.join(unknown)}; allowed: {', '.join(SCENARIO_KEYS)}.")
    return Scenario(content.get("source"), _record(path, content, "parameters"), _record(path, content, "notebooks"))


def _record(path: Path, content: dict, key: str) -> dict:
    value = content.get(key) or {}
    if not isinstance(value, dict):
        raise PlanError(f"scenario {path}: {key} must be a record of name: value.")
    return value


def assign(
    chosen: list[Notebook], asked: dict[str, object], single: dict[str, dict[str, object]] | None = None, *,
    others: dict[str, Notebook] | None = None,
) -> dict[str, dict[str, object]]:
    """Give each notebook the parameters that it declares, typed.

    Args:
        chosen: the notebooks of the run.
        asked: values for every notebook that declares the name; texts are read as the declared type.
        single: values for one notebook each, by any of its names.
        others: further notebooks that `single` may name; theirs are checked, told of and left aside.

    Returns:
        For each notebook, the values to inject; what nobody asked for keeps its default.

    Raises:
        PlanError: unknown names and wrong types, all of them, with the nearest known names.
    """
    known = {notebook.name: declared(notebook.path) for notebook in chosen}
    faults = _unknown(asked, known)
    values = {name: {} for name in known}
    for name, parameters in known.items():
        own = {key: value for key, value in asked.items() if key in parameters}
        values[name], found = _typed(own, parameters)
        faults += found
    for word, wanted in (single or {}).items():
        notebook = find(word, (others or {}) | {notebook.name: notebook for notebook in chosen})
        name, its = notebook.name, declared(notebook.path)
        faults += _unknown(wanted or {}, {name: its})
        own, found = _typed({k: v for k, v in (wanted or {}).items() if k in its}, its)
        faults += found
        if name in values:
            values[name] |= own
        else:
            print(f"Left aside: {name} is not in this run, so {', '.join(own)} of it {'are' if len(own) > 1 else 'is'} not used.")
    if faults:
        raise PlanError("\n".join(dict.fromkeys(faults)))
    return values


def _unknown(asked: dict[str, object], known: dict[str, dict[str, Parameter]]) -> list[str]:
    names = sorted({name for parameters in known.values() for name in parameters})
    where = next(iter(known)) if len(known) == 1 else "any notebook of this run"
    return [
        f"unknown parameter {name!r} of {where}; {nearest(str(name), names, names)}"
        for name in asked if name not in names
    ]


def _typed(asked: dict[str, object], parameters: dict[str, Parameter]) -> tuple[dict[str, object], list[str]]:
    values, faults = {}, []
    for name, value in asked.items():
        parameter = parameters[name]
        try:
            values[name] = cast(value, parameter)
        except ValueError:
            kind = _kind(parameter)
            faults.append(f"parameter {name} == {value!r}, must be {kind} (as {parameter.default!r} is).")
    return values, faults


def cast(value: object, parameter: Parameter) -> object:
    """Read a value as the type that the notebook declares.

    Raises:
        ValueError: it does not fit.
    """
    kind = _kind(parameter)
    if isinstance(value, str) and not _is_text(kind):
        value = _read(value)
    if value is None and "None" in kind:
        return None
    wanted = {part.strip().split("[")[0] for part in kind.split("|")} - {"None"}
    if "float" in wanted and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if "float" in wanted and isinstance(value, str):
        return float(value)
    if "str" in wanted and not isinstance(value, (dict, list, bool)) and value is not None:
        return str(value)
    if any(type(value).__name__ == name for name in wanted):
        return value
    raise ValueError(f"{value!r} is not {kind}")


def _read(text: str) -> object:
    try:
        return yaml.safe_load(text) if text.strip() else None
    except yaml.YAMLError as error:
        raise ValueError(f"{text!r} is not YAML") from error


def _kind(parameter: Parameter) -> str:
    if parameter.type not in ("None", "", None):
        return parameter.type.removeprefix("Optional[").rstrip("]") + (" | None" if "Optional" in parameter.type else "")
    return type(parameter.default).__name__


def _is_text(kind: str) -> bool:
    return kind.split("|")[0].strip() == "str"
