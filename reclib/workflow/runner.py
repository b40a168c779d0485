"""Run a plan: notebooks side by side where they do not need one another, then pages, records, and the link `latest`."""

from __future__ import annotations

import datetime
import graphlib
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path

from reclib import report
from reclib.workflow import pages, parameters, publish, resume, site
from reclib.workflow.plan import SIDES, Notebook, missing
from reclib.workflow.prepare import SEED, Plan

PUBLISHED, FAILED, REFUSED, INVALID = 0, 1, 2, 3
DONE, SKIPPED, BROKEN, NOT_RUN = "done", "skipped", "failed", "not run"
Say = Callable[[str], None]


@dataclass
class _Run:
    """A run while it is made: its plan, and the record of each notebook as it ends."""

    plan: Plan
    say: Say
    started: datetime.datetime
    records: dict[str, dict] = field(default_factory=dict)
    status: str = "running"


def run(plan: Plan, say: Say) -> int:
    """Make a run and publish it if it may be.

    Returns:
        The exit code: 0 published, 1 a notebook failed, 3 the checks refuse to publish.
    """
    with publish.locked(plan.reports, plan.run_id):
        state = _Run(plan, say, _now())
        plan.folder.mkdir(parents=True, exist_ok=True)
        _write_record(state)
        try:
            _run_all(state)
        except BaseException:
            state.status = "interrupted"
            _write_record(state)
            raise
        return _finish(state)


def _run_all(state: _Run) -> None:
    sorter = graphlib.TopologicalSorter(state.plan.before)
    sorter.prepare()
    known = {notebook.name: notebook for notebook in state.plan.chosen}
    running: dict[Future, str] = {}
    pool = ThreadPoolExecutor(state.plan.jobs)
    try:
        while sorter.is_active():
            for name in sorted(sorter.get_ready()):
                record = _without_running(state, known[name])
                if record:
                    _note(state, record)
                    sorter.done(name)
                else:
                    fingerprint = _fingerprint(state.plan, known[name])
                    running[pool.submit(_execute, state.plan, known[name], fingerprint)] = name
            for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                name = running.pop(future)
                _note(state, future.result())
                sorter.done(name)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        _stop_kernels()
        raise
    pool.shutdown()


def _stop_kernels() -> None:
    from reclib.workflow import execute

    execute.stop_all()


def _without_running(state: _Run, notebook: Notebook) -> dict | None:
    """The record of a notebook that need not or cannot run; None where it must."""
    plan, broken = state.plan, [
        name for name in state.plan.before[notebook.name] if state.records[name]["status"] in (BROKEN, NOT_RUN)
    ]
    if broken:
        return _record(plan, notebook, NOT_RUN, reason=f"not run, because {broken[0]} failed or was not run.")
    lack = missing(notebook, plan.has - set(_table_names(plan)) | set(resume.contents(plan.folder, notebook.wants)),
                   plan.source.get("lacks", {}))
    if lack:
        _clear(plan, plan.earlier.get(notebook.name, {}))
        return _record(plan, notebook, SKIPPED, reason=lack)
    earlier = plan.earlier.get(notebook.name, {})
    if resume.is_fresh(earlier, run=plan.folder, fingerprint=_fingerprint(plan, notebook)):
        return earlier | {"is_kept": True}
    _clear(plan, earlier)
    return None


def _table_names(plan: Plan) -> list[str]:
    """Tables that the source has count only once they are in the run; its capabilities count at once."""
    return list(plan.source.get("tables", ()))


def _clear(plan: Plan, earlier: dict) -> None:
    """Take away what an earlier attempt of the notebook made: it is stale."""
    for name in earlier.get("outputs", {}):
        for path in (plan.folder / "tables" / f"{name}.parquet", plan.folder / f"{name}.json"):
            path.unlink(missing_ok=True)
    for suffix in (".html", ".ipynb"):
        if earlier:
            (plan.folder / f"{earlier['name']}{suffix}").unlink(missing_ok=True)


def _fingerprint(plan: Plan, notebook: Notebook) -> str:
    return resume.fingerprint(
        notebook, parameters=plan.values[notebook.name], run=plan.folder, source=plan.source_hash,
    )


def _execute(plan: Plan, notebook: Notebook, fingerprint: str) -> dict:
    """Execute a notebook in a thread of the pool (the fingerprint is made before: `ast` is not safe in threads)."""
    from reclib.workflow import execute

    started, clock = _now(), time.monotonic()
    target = plan.folder / f"{notebook.name}.ipynb"
    failure = execute.execute(
        notebook.path, target, parameters=plan.values[notebook.name], folder=plan.notebooks,
        environment=_environment(plan),
    )
    outputs = resume.contents(plan.folder, notebook.makes)
    extra = {
        "seconds": round(time.monotonic() - clock, 2), "started_at": started.isoformat(),
        "fingerprint": fingerprint, "outputs": outputs, "takeaway": _takeaway(target),
    }
    if failure:
        return _record(plan, notebook, BROKEN, error=asdict(failure), reason=failure.error, **extra)
    return _record(plan, notebook, DONE, **extra)


def _environment(plan: Plan) -> dict[str, str]:
    return {"RECLIB_REPORTS": str(plan.reports), "RECLIB_RUN": plan.run_id}


def _record(plan: Plan, notebook: Notebook, status: str, **extra: object) -> dict:
    declared = parameters.declared(notebook.path)
    values = {name: each.default for name, each in declared.items()} | plan.values[notebook.name]
    return {
        "name": notebook.name, "title": pages.title_of(notebook.path), "status": status, "seconds": 0.0,
        "parameters": values, "page": f"{notebook.name}.html", "takeaway": "", "reason": "", "outputs": {}, **extra,
    }


def _takeaway(path: Path) -> str:
    """The last computed sentence of an executed notebook."""
    import nbformat

    if not path.exists():
        return ""
    cells = nbformat.read(path, as_version=4).cells
    found = [
        "".join(output.data.get("text/markdown", "")).strip().removeprefix("**").removesuffix("**")
        for cell in cells for output in cell.get("outputs", [])
        if output.get("metadata", {}).get(report.TAKEAWAY)
    ]
    return found[-1] if found else ""


def _note(state: _Run, record: dict) -> None:
    """Keep the record of a notebook that has ended, write its page, and say so in one line."""
    state.records[record["name"]] = record
    if record["status"] in (DONE, BROKEN) and not record.get("is_kept"):
        pages.write_notebook(state.plan.folder, record, [notebook.name for notebook in state.plan.chosen])
    _write_record(state)
    words = "kept" if record.get("is_kept") else record["status"]
    seconds = f" in {record['seconds']:.1f} s" if record["status"] in (DONE, BROKEN) and words != "kept" else ""
    told = record["takeaway"] if record["status"] == DONE else _told(record)
    state.say(f"{record['name']}: {words}{seconds}. {told}".rstrip())


def _told(record: dict) -> str:
    error = record.get("error")
    return f"Cell {error['cell']}: {error['error']}" if error else record["reason"]


def _finish(state: _Run) -> int:
    plan, statuses = state.plan, [record["status"] for record in state.records.values()]
    verdict = publish.settle_verdict(plan.folder, why_none=_why_no_verdict(state))
    if BROKEN in statuses:
        code, state.status = FAILED, "failed"
    elif verdict.get("verdict") == publish.INVALID:
        code, state.status = INVALID, "refused"
    else:
        code, state.status = PUBLISHED, "published"
    pages.mend_links(plan.folder, list(state.records.values()), [notebook.name for notebook in plan.chosen])
    before = publish.latest(plan.reports)
    _write_record(state, verdict=verdict["verdict"], exit_code=code)
    record = publish.read_json(plan.folder / "run.json")
    pages.write_index(plan.folder, record, verdict, before=site.run_before(plan.reports, record))
    if code == PUBLISHED and (not before or any(notebook.is_chain for notebook in plan.chosen)):
        publish.make_latest(plan.reports, plan.run_id)
    pages.write_overview(plan.reports)
    return code


def _why_no_verdict(state: _Run) -> str:
    reasons = [f"{record['name']} was not run: {record['reason']}" for record in state.records.values()
               if record["status"] in (SKIPPED, NOT_RUN) and not record["name"].startswith(SIDES)]
    return " ".join(["No notebook of this run gave a verdict.", *reasons[-1:]])


def _write_record(state: _Run, **extra: object) -> None:
    plan, ended = state.plan, _now()
    records = [state.records[notebook.name] for notebook in plan.chosen if notebook.name in state.records]
    publish.write_json(plan.folder / "run.json", {
        "run_id": plan.run_id, "status": state.status, **extra,
        "source": plan.source, "seed": _seed(plan), "parameters": plan.asked, "jobs": plan.jobs,
        "started_at": state.started.isoformat(), "ended_at": None if state.status == "running" else ended.isoformat(),
        "seconds": round((ended - state.started).total_seconds(), 2),
        "planned": [notebook.name for notebook in plan.chosen],
        "notebooks": records,
        "skipped": {record["name"]: record["reason"] for record in records if record["status"] == SKIPPED},
        "tables": publish.tables(plan.folder) if state.status != "running" else {},
        "versions": publish.versions(), "git": publish.revision(),
    })


def _seed(plan: Plan) -> object:
    for notebook in plan.chosen:
        declared = parameters.declared(notebook.path)
        if SEED in declared:
            return plan.values[notebook.name].get(SEED, declared[SEED].default)
    return None


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)
