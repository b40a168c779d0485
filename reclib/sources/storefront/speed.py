"""How long the shop takes and how much memory, each size in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pandas as pd

_CODE = """
import json, resource, sys, time
from reclib.sources.storefront import tables
n_customers, n_items, n_days = map(int, sys.argv[1:])
start = time.process_time()
made, _ = tables.load(n_customers=n_customers, n_items=n_items, n_days=n_days)
spent = time.process_time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
counts = {"events": len(made["events"]), "slots": len(made["logged_deliveries"])}
print(json.dumps({"cpu_seconds": spent, "peak_mb": peak} | counts))
"""


def measure(sizes: list[tuple[int, int]], *, n_days: int = 84) -> pd.DataFrame:
    """Make the history of several sizes of shop, tables included.

    Args:
        sizes: pairs of customers and items.
        n_days: days of history.

    Returns:
        n_customers, n_items, cpu_seconds (imports aside), peak_mb (the interpreter included), events and slots.
    """
    rows = []
    for n_customers, n_items in sizes:
        arguments = [str(number) for number in (n_customers, n_items, n_days)]
        told = subprocess.run([sys.executable, "-c", _CODE, *arguments], capture_output=True, text=True, check=True)
        rows.append({"n_customers": n_customers, "n_items": n_items} | json.loads(told.stdout))
    return pd.DataFrame(rows)


def sentence(measured: pd.DataFrame, *, n_days: int) -> str:
    """Say what the largest shop took."""
    largest = measured.sort_values(["n_customers", "n_items"]).iloc[-1]
    return (
        f"{largest.n_customers:,.0f} customers and {largest.n_items:,.0f} items over {n_days} days took "
        f"{largest.cpu_seconds:.1f} CPU seconds and {largest.peak_mb:,.0f} MB for {largest.events:,.0f} events.")
