"""Put the outputs of a default run into the notebooks themselves: `python -m reclib.workflow.refresh [NAME ...]`.

What is committed is what a fresh run shows: counts from 1, no times, no paths, no state of widgets, ids that stay.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat

from reclib.workflow import plan, prepare, runner
from reclib.workflow.publish import write_text

RUN_ID = "default"
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
KEPT = ("tags",)


def main(names: list[str]) -> int:
    """Run the chain and the proofs (or the named notebooks with what they need), write the outputs back, and return the
    exit code. Benchmarks are refreshed by name only: their seconds are never the same twice.
    """
    names = names or [name for name in plan.discover(plan.folder()) if not name.startswith("benchmarks/")]
    with tempfile.TemporaryDirectory() as folder:
        planned = prepare.prepare(prepare.Request(names=tuple(names), run_id=RUN_ID, reports=Path(folder), jobs=2))
        code = runner.run(planned, print)
        if code == runner.FAILED:
            return code
        for notebook in planned.chosen:
            executed = planned.folder / f"{notebook.name}.ipynb"
            if executed.exists():
                write_text(notebook.path, refreshed(notebook.path, executed))
    return code


def refreshed(source: Path, executed: Path) -> str:
    """The text of a notebook with the outputs of its execution, and nothing that differs from run to run.

    Raises:
        ValueError: the two are not the same notebook, or a cell wrote to stderr.
    """
    written, ran = nbformat.read(source, as_version=4), nbformat.read(executed, as_version=4)
    ran.cells = [cell for cell in ran.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    if [cell.source for cell in written.cells] != [cell.source for cell in ran.cells]:
        raise ValueError(f"{executed}: its cells are not those of {source}; run it again.")
    count = 0
    for index, (cell, done) in enumerate(zip(written.cells, ran.cells), start=1):
        cell.metadata = {name: value for name, value in cell.metadata.items() if name in KEPT}
        cell.setdefault("id", f"{source.stem.split('_', 1)[-1]}-{index:02d}")
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            cell.outputs = [_clean(output, count, source) for output in done.outputs]
    written.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": {"name": "python"}})
    written.nbformat, written.nbformat_minor = 4, 5
    return nbformat.writes(written) + "\n"


def _clean(output: nbformat.NotebookNode, count: int, source: Path) -> nbformat.NotebookNode:
    if output.get("name") == "stderr":
        raise ValueError(f"{source}: code cell {count} wrote to stderr: {output.text.strip()[:300]!r}.")
    if "execution_count" in output:
        output.execution_count = count
    return output


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
