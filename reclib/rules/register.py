"""The rule register: one YAML file, a closed vocabulary, and all its faults at once with their lines."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd
import yaml
from pydantic import ValidationError

from reclib import store
from reclib.rules.kinds import ADAPTER, PRECEDENCE, Rule


class RuleError(ValueError):
    """A rule file breaks the vocabulary; the message holds one sentence a fault, each with its line."""


def load(path: str | Path) -> list[Rule]:
    """Read a rule file.

    Args:
        path: YAML file with one key, `rules`: a list of rules.

    Returns:
        The rules in the order of their precedence, ties in the order of the file.

    Raises:
        RuleError: one sentence a fault, all faults of the file at once, each with its line.
    """
    path = Path(path)
    if not path.exists():
        raise RuleError(f"rules: no file {path}; give the path of a YAML file with a list under 'rules'.")
    return parse(path.read_text(encoding="utf-8"), name=path.name)


def choose(rules_file: str, source: dict) -> Path:
    """The rule file to use: the one that is named, else the source's own, else the default.

    A name without a folder is looked up in `notebooks/scenarios/`.
    """
    named = rules_file or source.get("rules_path") or "rules.yaml"
    path = Path(named)
    return path if path.is_absolute() or path.exists() else store.project() / "notebooks" / "scenarios" / named


def parse(text: str, *, name: str = "rules") -> list[Rule]:
    """Read rules from YAML text; see `load`."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise RuleError(f"{name}: is not YAML: {' '.join(str(error).split())}.") from error
    listed = _listed(root, name)
    faults, rules = [], []
    for node in listed:
        faults += [f"{name}, line {line}: {fault}." for line, fault in _repeated_keys(node)]
        rule = _built(node, name, faults)
        rules += [rule] if rule else []
    faults += _repeated_ids(listed, name)
    if faults:
        raise RuleError("\n".join(faults))
    return in_order(rules)


def in_order(rules: list[Rule]) -> list[Rule]:
    """Sort rules by the precedence of their kinds; ties keep their order."""
    return sorted(rules, key=lambda rule: PRECEDENCE.index(rule.kind))


def with_trials(rules: list[Rule]) -> list[Rule]:
    """The register with every rule in shadow enforced."""
    return [rule.model_copy(update={"status": "live"}) for rule in rules]


def from_records(records: list[dict]) -> list[Rule]:
    """Rebuild rules from the records that `records` made."""
    return in_order([ADAPTER.validate_python(record) for record in records])


def records(rules: list[Rule]) -> list[dict]:
    """Turn rules into plain records, for the facts of a run."""
    kept = [rule.model_dump(by_alias=True, exclude_none=True) for rule in rules]
    return json.loads(json.dumps(kept, default=str))


def version(rules: list[Rule]) -> str:
    """Hash of the rules' content: the same rules have the same version wherever their file lies."""
    return hashlib.sha256(json.dumps(records(rules), sort_keys=True).encode()).hexdigest()[:12]


def table(rules: list[Rule], skipped: dict[str, str] | None = None) -> pd.DataFrame:
    """The `rules` table, with `status` (live, shadow, expired or not applicable) and why.

    Args:
        rules: the register.
        skipped: rule_id -> why it does not apply.
    """
    skipped, made = skipped or {}, version(rules)
    rows = [{
        "rule_id": rule.id, "version": made, "kind": rule.kind, "is_hard": rule.is_hard, "scope": rule.scope,
        "limit": rule.limit, "window": rule.window, "owner": rule.owner, "reason": rule.reason,
        "valid_from": rule.valid_from, "valid_to": rule.valid_to, "on_missing": rule.on_missing,
        "status": "not applicable" if rule.id in skipped else rule.status, "detail": skipped.get(rule.id, ""),
        "is_for_sale": rule.sold, "precedence": place + 1,
    } for place, rule in enumerate(rules)]
    frame = pd.DataFrame(rows, columns=[
        "rule_id", "version", "kind", "is_hard", "scope", "limit", "window", "owner", "reason", "valid_from",
        "valid_to", "on_missing", "status", "detail", "is_for_sale", "precedence"])
    times = {name: pd.to_datetime(frame[name], utc=True).astype("datetime64[us, UTC]") for name in ("valid_from", "valid_to")}
    return frame.assign(**times, limit=frame["limit"].astype("float64"), window=frame["window"].astype("str"))


def _listed(root: yaml.Node | None, name: str) -> list[yaml.Node]:
    if not isinstance(root, yaml.MappingNode):
        raise RuleError(f"{name}, line 1: must be a mapping with a list under 'rules'.")
    found = {str(key.value): (key, value) for key, value in root.value}
    unknown = sorted(set(found) - {"rules"})
    if unknown:
        raise RuleError("\n".join(f"{name}, line {found[key][0].start_mark.line + 1}: unknown key {key!r}; known keys: rules."
                                  for key in unknown))
    if "rules" not in found or not isinstance(found["rules"][1], yaml.SequenceNode):
        raise RuleError(f"{name}, line 1: 'rules' must be a list of rules.")
    return found["rules"][1].value


def _line(node: yaml.Node, path: tuple) -> int:
    """The line of the deepest part of a rule that a path of keys and numbers leads to."""
    for step in path:
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        below = {str(part[0].value): part[1] for part in parts} if isinstance(node, yaml.MappingNode) else dict(enumerate(parts))
        node = below.get(step, node)
    return node.start_mark.line + 1


def _repeated_keys(node: yaml.Node) -> list[tuple[int, str]]:
    if isinstance(node, yaml.SequenceNode):
        return [fault for part in node.value for fault in _repeated_keys(part)]
    if not isinstance(node, yaml.MappingNode):
        return []
    keys = [key.value for key, _ in node.value]
    own = [(key.start_mark.line + 1, f"key {key.value!r} is repeated")
           for place, (key, _) in enumerate(node.value) if key.value in keys[:place]]
    return own + [fault for _, value in node.value for fault in _repeated_keys(value)]


def _built(node: yaml.Node, name: str, faults: list[str]) -> Rule | None:
    try:
        record = yaml.SafeLoader("").construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError) as error:
        said = getattr(error, "problem", None) or error
        faults.append(f"{name}, line {node.start_mark.line + 1}: a rule cannot be read: {said}.")
        return None
    label = record.get("id") if isinstance(record, dict) else None
    try:
        return ADAPTER.validate_python(record)
    except ValidationError as error:
        faults += dict.fromkeys(_fault(fault, node, name, label) for fault in error.errors())
        return None


def _fault(fault: dict, node: yaml.Node, name: str, label: object) -> str:
    path = tuple(step for step in fault["loc"] if step not in _KINDS and not str(step).startswith("<") and "[" not in str(step))
    where = f"{name}, line {_line(node, path)}: rule {label!r}" if label else f"{name}, line {node.start_mark.line + 1}: a rule"
    key = ".".join(map(str, path))
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key {key!r}."
    if fault["type"] == "missing":
        return f"{where}: key {key!r} is missing."
    if fault["type"] == "union_tag_invalid":
        return f"{where}: unknown kind {fault['ctx']['tag']!r}; known kinds: {', '.join(sorted(PRECEDENCE))}."
    if fault["type"] == "union_tag_not_found":
        return f"{where}: key 'kind' is missing; known kinds: {', '.join(sorted(PRECEDENCE))}."
    said = fault["msg"].removeprefix("Value error, ").rstrip(".")
    got = "" if fault["type"] == "value_error" else f", got {fault['input']!r}"
    return f"{where}: {key + ': ' if key else ''}{said[0].lower() + said[1:]}{got}."


def _repeated_ids(listed: list[yaml.Node], name: str) -> list[str]:
    ids = [(str(value.value), value.start_mark.line + 1) for node in listed if isinstance(node, yaml.MappingNode)
           for key, value in node.value if key.value == "id"]
    first = dict(reversed(ids))
    return [f"{name}, line {line}: id {rule_id!r} is repeated; it first stands in line {first[rule_id]}."
            for rule_id, line in ids if line != first[rule_id]]


_KINDS = set(PRECEDENCE)
