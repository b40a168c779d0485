"""The data dictionary: the contracts of every table, as a page for people. `data/README.md` is this text."""

from __future__ import annotations

from pathlib import Path

from reclib import schema

_HEAD = """# Data dictionary

Layers exchange tables, not objects; each table has a contract, held at the two doors `store.read` and `store.write`.
This page is generated from the contracts (`python -m reclib.sources.dictionary`) and a test holds them together.
Everything else in this folder is made or fetched, and ignored by git.

Ids are kept as the source gave them: texts or whole numbers, one kind only. Times are UTC. Money is in one currency, that of
the source. `*_at` is a time, `n_*` a count, `is_*` a truth value; `position` and `*_rank` start at 1; a higher `*_score` is
better. `p_response` is the probability that the customer responds, `p_shown` the probability that the policy shows it.
Columns in brackets are optional. Further columns are welcome: flags of items and customers, metrics and covariates of units,
parts of a priority.

A source file (YAML) says which files hold which tables:

```yaml
name: my-shop
currency: EUR
tables:
  events:
    path: ratings.csv                 # csv, csv.gz, tsv or parquet; relative to this file, or absolute
    read: {sep: ","}                  # options of the reader: sep, encoding, decimal, ...
    columns: {customer_id: userId, item_id: movieId, occurred_at: timestamp, value: rating}
    constants: {event_type: rating}   # columns that the file lacks
    time_unit: s                      # where times are numbers: s, ms, us, ns; or time_format: "%d/%m/%Y"
    words: {event_type: {buy: purchase}}   # where the file has other words
```

Columns not named keep their names. Ids stay texts unless every value of every table is a whole number written plainly, so
`007` stays `007`. A missing `event_id` is the row number; a missing `value` is price times quantity where both are there,
else 0; missing items are those that the events name. Each such assumption is printed on the page of the data notebook.
Events about items that the table of items lacks are kept as signals and counted there. A file with a fault is refused whole:
`reclib check my-shop.yaml` lists all faults at once.

A finished experiment is a table `units` (one row a customer) and the plan that was written before it ran:

```yaml
tables:
  units: {path: ab.csv, columns: {customer_id: userid, arm: version}}
experiment:
  experiment_id: gate
  control: gate_30
  expected_shares: {gate_30: 0.5, gate_40: 0.5}   # an arm with share 0 is one that nobody should be in
  alpha: 0.05                         # two-sided; guardrails are held against their margin one-sided at half of it
  metrics:                            # role: success, guardrail, quality or exploratory; direction: up or down (is better)
    retention_7: {role: success, kind: proportion}              # kind: mean, proportion, ratio or quantile
    spend: {role: success, winsorise: 0.999, is_money: true}    # capped alike in all arms, over customers who spent
    rounds: {role: guardrail, column: sum_gamerounds, margin: 0.02}   # largest loss, as a share of the control mean
    opted_out: {role: guardrail, kind: proportion, direction: down, margin: 0.005, margin_scale: absolute}
    latency: {role: guardrail, kind: quantile, quantile: 0.9, column: latency_ms, direction: down, margin: 0.1}
    order_value: {role: exploratory, kind: ratio, numerator: spend, denominator: orders, about: money an order}
  covariates: [spend_before]          # known before the assignment, to narrow the intervals
  segments: [country]                 # known before the assignment, to see whom it helped
  correction: holm                    # of several success metrics, arms and segments: holm, bh or none
  sequential: {n_star: 5000}          # looked at before its end: intervals that hold at every look
  planned_effect: 0.05                # relative effect that the test was sized for
  is_randomised: true                 # false: described, never read as an effect
```

Only the identity, the control, the shares and the metrics are required.
"""
_KINDS = {
    schema.ID: "id", schema.TIME: "time, UTC", schema.NUMBER: "number", schema.COUNT: "whole number, not negative",
    schema.FLAG: "true or false", schema.WORD: "word", schema.TEXT: "text",
}


def text() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(_section(table) for table in schema.TABLES.values())])


def write(path: Path) -> None:
    """Write the page."""
    path.write_text(text())


def _section(table: schema.Table) -> str:
    key = ", ".join(f"`{name}`" for name in table.key)
    rows = [f"| {_name(name, column)} | {_holds(column)} | {column.about} |" for name, column in table.columns.items()]
    title = f"## {table.name}\n\n{table.about[0].upper()}{table.about[1:]}. Key: {key}.\n"
    return "\n".join([title, "| column | holds | meaning |", "|---|---|---|", *rows, ""])


def _name(name: str, column: schema.Column) -> str:
    return f"`{name}`" if column.is_required else f"[`{name}`]"


def _holds(column: schema.Column) -> str:
    holds = _KINDS[column.kind]
    if column.low is not None and column.high is not None:
        holds += f" from {column.low:g} to {column.high:g}"
    elif column.low is not None:
        holds += f", at least {column.low:g}"
    if column.allowed:
        holds += ": " + ", ".join(column.allowed)
    return holds + (", may be missing" if column.is_nullable else "")


if __name__ == "__main__":
    write(Path(__file__).resolve().parents[2] / "data" / "README.md")
