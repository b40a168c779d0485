"""The records of a run and its publication: `run.json`, `verdict.json`, the lock of a run, the link `latest`."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from reclib import store
from reclib.workflow.plan import PlanError
from reclib.workflow.resume import digest

INVALID, HOLD = "INVALID", "HOLD"
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
TAKEN_NAMES = (store.LATEST, store.LAB)


def write_json(path: Path, record: dict) -> None:
    """Write a record in one atomic step."""
    write_text(path, json.dumps(record, indent=2, default=str, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text in one atomic step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def read_json(path: Path) -> dict:
    """Read a record; an empty one where there is none, or one that cannot be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def check_run_id(run_id: str) -> str:
    """Return the run id, or refuse it: it names a folder."""
    if not RUN_ID.fullmatch(run_id) or run_id in TAKEN_NAMES:
        raise PlanError(
            f"run id {run_id!r}: must be letters, digits, dots, dashes or underscores, "
            f"begin with a letter or digit, and not be {' or '.join(TAKEN_NAMES)}."
        )
    return run_id


@contextmanager
def locked(reports: Path, run_id: str) -> Iterator[None]:
    """Hold the lock of a run; refuse if another process is making it."""
    from filelock import FileLock, Timeout

    folder = reports / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / f"{run_id}.lock", timeout=0):
            yield
    except Timeout as error:
        raise PlanError(f"run {run_id!r} is being made by another process; wait for it or choose a --run-id.") from error


def make_latest(reports: Path, run_id: str) -> None:
    """Let `latest` name the run, in one atomic step."""
    link = reports / f".latest.{os.getpid()}.partial"
    link.unlink(missing_ok=True)
    link.symlink_to(run_id, target_is_directory=True)
    os.replace(link, reports / store.LATEST)


def latest(reports: Path) -> str:
    """Name the run that `latest` means; empty where none was published."""
    link = reports / store.LATEST
    return link.resolve().name if link.exists() else ""


def tables(run: Path) -> dict[str, dict]:
    """Hash and count the tables of a run."""
    from pyarrow import parquet

    return {
        path.stem: {
            "rows": parquet.read_metadata(path).num_rows, "bytes": path.stat().st_size, "sha256": digest(path),
        }
        for path in sorted((run / "tables").glob("*.parquet"))
    }


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what it depends on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for requirement in ["reclib", *(metadata.requires("reclib") or [])]:
        name = re.match(r"[A-Za-z0-9._-]+", requirement).group()
        if "extra ==" not in requirement:
            found[name] = metadata.version(name)
    return found


def revision() -> dict[str, object] | None:
    """The git revision of the project, and whether files differ from it; None outside of git."""
    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(store.project()), *words], capture_output=True, text=True, timeout=20, check=True,
        )
        return done.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "is_changed": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def failed_checks(run: Path) -> list[dict]:
    """The failed rows of `checks`; none where the run has no such table."""
    import pandas as pd

    path = run / "tables" / "checks.parquet"
    if not path.exists():
        return []
    checks = pd.read_parquet(path)
    return checks[checks["status"] == "fail"].astype("object").where(checks.notna(), None).to_dict("records")


def settle_verdict(run: Path, *, why_none: str) -> dict:
    """Make sure that the run has a verdict, and that failed checks beat every other.

    Args:
        run: folder of the run.
        why_none: why no notebook gave a verdict, as a sentence.

    Returns:
        The verdict as it stands in `verdict.json`.
    """
    path = run / "verdict.json"
    verdict = read_json(path) or {
        "verdict": HOLD, "reasons": [why_none], "checks": [], "effect": None, "low": None, "high": None, "money": None,
        "next_action": "Run the whole chain on a source with an experiment to get a verdict on one.",
    }
    failed = failed_checks(run)
    if failed and verdict.get("verdict") != INVALID:
        told = [f"Check {row['check_id']} failed: {row['detail'] or row['observed']}" for row in failed]
        verdict = verdict | {"verdict": INVALID, "reasons": told}
    write_json(path, verdict)
    return verdict
