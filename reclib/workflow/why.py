"""Why a customer sees an item or not: the trace of a pair through the tables of a run, layer by layer.

The trace tells what the tables say and nothing more: the change that it names last is what stood in the way first, not
a decision made again.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as parquet

from reclib import schema, store
from reclib.workflow.plan import PlanError

NO_PAIR = ("items", "rules")


def why(customer: str, item: str, *, run: str = store.LATEST) -> dict:
    """Trace a pair through a run.

    Args:
        customer, item: ids as typed; they are read as the type that the tables have.
        run: run id, or `latest`.

    Returns:
        A record: run, customer, item, `steps` (layer: sentence), `was_shown`, `change` (the first thing that would have
        to be different, empty where it was shown).

    Raises:
        PlanError: the run has no decisions.
    """
    tables = store.folder(run) / "tables"
    if not (tables / "decisions.parquet").exists():
        raise PlanError(f"run {run!r} has no decisions ({tables}); make a run of the chain first: reclib run.")
    found = {name: _rows(tables, name, customer, item) for name in ("candidates", "ranked", "rule_outcomes", "decisions")}
    items = _rows(tables, "items", None, item)
    rules = _whole(tables, "rules").set_index("rule_id") if (tables / "rules.parquet").exists() else pd.DataFrame()
    delivered = _rows(tables, "deliveries", customer, None)
    policy = _policy(found["decisions"], delivered)
    mine = {name: rows[rows["policy"] == policy] if "policy" in rows else rows for name, rows in found.items()}
    shown = delivered[delivered["item_id"].astype(str) == item] if len(delivered) else delivered
    steps = {
        "catalogue": _catalogue(items, item, is_there=(tables / "items.parquet").exists()),
        "candidates": _candidates(mine["candidates"]),
        f"ranking ({policy})": _ranking(mine["ranked"]),
        "rules": _rules(mine["rule_outcomes"], rules),
        "decision": _decision(mine["decisions"]),
        "delivery": _delivery(shown, delivered),
    }
    change = "" if len(shown) else _change(tables, mine, rules, items, customer, policy)
    name = (store.folder(run)).resolve().name
    return {"run": name, "customer": customer, "item": item, "policy": policy, "was_shown": bool(len(shown)),
            "steps": steps, "change": change}


def _rows(tables: Path, name: str, customer: str | None, item: str | None) -> pd.DataFrame:
    """The rows of a table that belong to a customer, an item, or both; ids are compared in the table's own type."""
    path = tables / f"{name}.parquet"
    if not path.exists():
        return pd.DataFrame(columns=list(schema.TABLES[name].columns))
    types = parquet.read_schema(path)
    wanted = {"customer_id": customer, "item_id": item}
    filters = []
    for column, value in wanted.items():
        if value is not None and column in types.names:
            is_text = "string" in str(types.field(column).type) or "dictionary" in str(types.field(column).type)
            if not is_text and not value.lstrip("-").isdigit():
                return pd.DataFrame(columns=types.names)
            filters.append((column, "==", value if is_text else int(value)))
    return pd.read_parquet(path, filters=filters)


def _whole(tables: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(tables / f"{name}.parquet")


def _policy(decisions: pd.DataFrame, delivered: pd.DataFrame) -> str:
    """The policy that served the customer; where nothing was delivered, the last one by name that decided on the pair."""
    if len(delivered):
        return str(delivered["policy"].iloc[0])
    return str(decisions["policy"].max()) if len(decisions) else ""


def _catalogue(items: pd.DataFrame, item: str, *, is_there: bool) -> str:
    if not is_there:
        return "The source has no catalogue."
    if items.empty:
        return f"Item {item} is not in the catalogue."
    title = items["title"].iloc[0] if "title" in items else None
    return f"Item {item} is in the catalogue{f': {title}' if isinstance(title, str) else ''}."


def _candidates(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "No source offered it to this customer."
    best = rows.sort_values(["source_rank", "source"])
    told = [f"{row.source} at rank {row.source_rank}" for row in best.itertuples()]
    return f"Offered by {', '.join(told)}."


def _ranking(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "It was not ranked."
    row = rows.iloc[0]
    return (f"Rank {row['rank']} with priority {row['priority']:,.4g}: it is answered with probability "
            f"{row['p_response']:.4f}, and an answer is worth {row['value']:,.2f}.")


def _rules(rows: pd.DataFrame, rules: pd.DataFrame) -> str:
    if rows.empty:
        return "No rule touched it."
    told = []
    for row in rows.itertuples():
        reason = rules["reason"].get(row.rule_id, "") if len(rules) else ""
        detail = f" ({row.detail})" if isinstance(row.detail, str) and row.detail else ""
        told.append(f"{row.outcome} by {row.rule_id}{detail}{f': {reason}' if reason else ''}")
    return "; ".join(told) + "."


def _decision(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "It never came to a decision."
    row = rows.iloc[0]
    if pd.notna(row["position"]):
        return f"Allowed, at position {int(row['position'])}."
    if not row["is_allowed"]:
        return f"Refused, first by {row['rule_id']}."
    state = str(row["state"]).replace("_", " ") if "state" in rows and isinstance(row["state"], str) else "below the cut"
    rule = f" ({row['rule_id']})" if pd.notna(row["rule_id"]) else ""
    return f"Allowed, but without a slot: {state}{rule}."


def _delivery(shown: pd.DataFrame, delivered: pd.DataFrame) -> str:
    if delivered.empty:
        return "Nothing was published to this customer."
    if shown.empty:
        return f"Not among the {len(delivered)} slots published to this customer."
    row = shown.iloc[0]
    return f"Published at position {int(row['position'])}, with probability {row['p_shown']:.4f}."


def _change(tables: Path, mine: dict[str, pd.DataFrame], rules: pd.DataFrame, items: pd.DataFrame, customer: str,
            policy: str) -> str:
    """The first thing that stood in the way."""
    if items.empty and (tables / "items.parquet").exists():
        return "The item would have to be in the catalogue."
    if mine["candidates"].empty:
        offered = _rows(tables, "candidates", customer, None)
        last = offered.groupby("source")["source_rank"].max().sort_values(ascending=False)
        room = f"; {last.index[0]} offered this customer {last.iloc[0]} items" if len(last) else ""
        return f"A source would have to offer it{room}."
    refused = mine["rule_outcomes"][mine["rule_outcomes"]["outcome"] == "filtered"]
    if len(refused):
        names = refused["rule_id"].astype(str).tolist()
        owners = sorted({str(rules["owner"].get(name, "")) for name in names} - {""}) if len(rules) else []
        asked = f" (owner: {', '.join(owners)})" if owners else ""
        return f"{' and '.join(names)} would have to allow it{asked}; after that it would compete by priority."
    return _margin(tables, mine, customer, policy)


def _margin(tables: Path, mine: dict[str, pd.DataFrame], customer: str, policy: str) -> str:
    """How far its priority lies from that of the last item shown."""
    decisions = _rows(tables, "decisions", customer, None)
    ranked = _rows(tables, "ranked", customer, None)
    both = decisions[decisions["policy"] == policy].merge(
        ranked[ranked["policy"] == policy][["item_id", "priority"]], on="item_id", validate="one_to_one")
    slate = both[both["position"].notna()]
    lost = mine["rule_outcomes"][mine["rule_outcomes"]["outcome"] == "not_allocated"]
    if len(lost):
        return (f"{lost['rule_id'].iloc[0]} would have to leave more room: what it shares out went to pairs that are "
                "worth more.")
    if slate.empty or mine["ranked"].empty:
        return "The customer would have to be shown anything at all."
    own, cut = float(mine["ranked"]["priority"].iloc[0]), float(slate["priority"].min())
    if own > cut:
        return "The slate would have to be drawn again: exploration or the mix of the slate gave its slot away."
    return f"Its priority would have to rise from {own:,.4g} to above {cut:,.4g}, that of the last item shown."
