"""What a run's pages say of other runs: what moved since the one before, and the list of the last ones."""

from __future__ import annotations

from pathlib import Path

from reclib.workflow import publish

N_DIGITS = 4


def run_before(reports: Path, record: dict) -> str:
    """Name the last published run of the same source before this one; empty where there is none."""
    found = [
        each["run_id"] for each in last_runs(reports, None)
        if each["status"] == "published" and each["run_id"] != record["run_id"]
        and each["source"] == record.get("source", {}).get("name", "") and each["started_at"] <= record["started_at"]
    ]
    return found[0] if found else ""


def moved(before: Path, record: dict, verdict: dict) -> list[dict[str, str]]:
    """List what differs from the run before: verdict, effect, money, guardrails, rows of tables.

    Args:
        before: folder of the run before.
        record: `run.json` of this run.
        verdict: `verdict.json` of this run.

    Returns:
        Rows of what, before, now, change, as text.
    """
    old_verdict, old_record = (publish.read_json(before / name) for name in ("verdict.json", "run.json"))
    pairs: dict[str, tuple[object, object]] = {"verdict": (old_verdict.get("verdict"), verdict.get("verdict"))}
    for name in ("effect", "low", "high"):
        pairs[name] = (old_verdict.get(name), verdict.get(name))
    for of, told in ((_money, "money"), (_guardrails, "guardrail")):
        old, new = of(old_verdict), of(verdict)
        pairs |= {f"{told}: {name}": (old.get(name), new.get(name)) for name in sorted(old | new)}
    pairs["failed checks"] = (n_failed(old_verdict), n_failed(verdict))
    old_tables, new_tables = old_record.get("tables", {}), record.get("tables", {})
    for name in sorted(set(old_tables) | set(new_tables)):
        pairs[f"rows of {name}"] = (old_tables.get(name, {}).get("rows"), new_tables.get(name, {}).get("rows"))
    changed = [name for name in old_tables if name in new_tables and _differs(old_tables[name], new_tables[name])]
    rows = [_row(what, old, new) for what, (old, new) in pairs.items() if old != new]
    if changed:
        rows.append({"what": "tables with other content", "before": "", "now": str(len(changed)), "change": ""})
    return rows


def _differs(old: dict, new: dict) -> bool:
    return old.get("sha256") != new.get("sha256")


def _money(verdict: dict) -> dict[str, object]:
    money = verdict.get("money") if isinstance(verdict.get("money"), dict) else {}
    return {name: money[name] for name in ("amount", "low", "high") if _is_number(money.get(name))}


def _guardrails(verdict: dict) -> dict[str, str]:
    return {f"{each['metric']} in {each['arm']}": each["finding"] for each in verdict.get("guardrails") or []}


def _row(what: str, old: object, new: object) -> dict[str, str]:
    change = ""
    if _is_number(old) and _is_number(new):
        change = f"{_text(new - old, sign='+')}" + (f" ({(new - old) / abs(old):+.1%})" if old else "")
    return {"what": what, "before": _text(old), "now": _text(new), "change": change}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: object, *, sign: str = "") -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:{sign},.{N_DIGITS}g}" if abs(value) < 1000 else f"{value:{sign},.0f}"
    return f"{value:{sign},}" if _is_number(value) else str(value)


def n_failed(verdict: dict) -> int:
    """How many checks of a verdict failed."""
    return sum(isinstance(check, dict) and check.get("status") == "fail" for check in verdict.get("checks") or [])


def last_runs(reports: Path, n_runs: int | None) -> list[dict[str, object]]:
    """Read the records of the last runs, newest first; `interval` and `share` place a run among those of its source."""
    found = []
    for path in reports.glob("*/run.json"):
        record, verdict = publish.read_json(path), publish.read_json(path.parent / "verdict.json")
        if path.parent.is_symlink() or not record:
            continue
        held = [each == "within margin" or each == "worse, within margin" for each in _guardrails(verdict).values()]
        numbers = {name: verdict.get(name) for name in ("effect", "low", "high")}
        found.append({
            "run_id": path.parent.name, "started_at": record.get("started_at", ""), "status": record.get("status", ""),
            "source": record.get("source", {}).get("name", ""), "n_failed": n_failed(verdict), "seconds": record.get("seconds", 0),
            "verdict": verdict.get("verdict", "") if record.get("status") in ("published", "refused") else "",
            "guardrails": f"{sum(held)} of {len(held)}" if held else "", "numbers": numbers,
            **{name: "" if value is None else _text(value) for name, value in numbers.items()},
        })
    ordered = sorted(found, key=lambda each: (each["started_at"], each["run_id"]), reverse=True)[:n_runs]
    return [each | _placed(each, ordered) for each in ordered]


def _placed(run: dict, runs: list[dict]) -> dict[str, object]:
    """Where a run's effect and interval lie, and how long it took, in percent of the range over the runs of its source."""
    own = [each for each in runs if each["source"] == run["source"]]
    ends = [value for each in own for value in each["numbers"].values() if value is not None] + [0.0]
    low, span = min(ends), (max(ends) - min(ends)) or 1.0
    numbers = run["numbers"] | {"zero": 0.0}
    is_known = all(value is not None for value in numbers.values())
    return {"interval": {name: round(100 * (value - low) / span, 1) for name, value in numbers.items()} if is_known else None,
            "share": round(100 * run["seconds"] / (max(each["seconds"] for each in own) or 1.0), 1)}
