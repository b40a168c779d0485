"""Execute one notebook with Papermill: its own kernel, a time limit, and a failure that says where and why."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import papermill
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

CELL_TIMEOUT, START_TIMEOUT = 900, 120
ERROR_TAG = "papermill-error-cell-tag"
ONE_THREAD = {name: "1" for name in (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
)}
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_alive: set[AsyncKernelManager] = set()

logging.getLogger("papermill").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Failure:
    """Which cell failed (counted from 1, code and prose alike), what stood in it, and the error."""

    cell: int
    source: str
    error: str
    traceback: str


class Kernel(AsyncKernelManager):
    """A kernel over sockets in a folder of its own: no ports, so kernels side by side never collide."""

    extra: ClassVar[dict[str, str]] = {}
    folder: ClassVar[str | None] = None

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.sockets = tempfile.mkdtemp(prefix="k-")
        self.transport, self.ip = "ipc", f"{self.sockets}/k"

    async def start_kernel(self, **options: object) -> None:
        """Start the kernel with the environment of the run; Papermill's farewell interrupt is no error to report."""
        options["extra_arguments"] = ["--log-level=CRITICAL", *options.get("extra_arguments", [])]
        # Papermill's own `cwd` changes the folder of the whole process, which threads cannot share.
        options["cwd"] = self.folder
        options["env"] = {**os.environ, **(options.get("env") or {}), **self.extra}
        await super().start_kernel(**options)
        _alive.add(self)

    async def cleanup_resources(self, restart: bool = False) -> None:
        """Forget the kernel once it is gone."""
        _alive.discard(self)
        await super().cleanup_resources(restart=restart)
        if not restart:
            shutil.rmtree(self.sockets, ignore_errors=True)


def stop_all() -> None:
    """End the kernels that are still alive: the run was interrupted."""
    for kernel in list(_alive):
        with suppress(AttributeError, ProcessLookupError):
            os.kill(kernel.provisioner.process.pid, signal.SIGKILL)


def execute(
    source: Path, target: Path, *, parameters: dict[str, object], environment: dict[str, str], folder: Path,
    timeout: int = CELL_TIMEOUT,
) -> Failure | None:
    """Run a notebook and keep it, executed, in one atomic step.

    Args:
        source: the notebook.
        target: where the executed notebook goes, outputs included, even of a run that failed.
        parameters: values for its `parameters` cell.
        environment: variables that the kernel sees besides ours.
        folder: the working folder of the kernel.
        timeout: seconds that one cell may take.

    Returns:
        None, or the cell that failed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.stem}.{os.getpid()}.partial.ipynb")
    kernel = type("RunKernel", (Kernel,), {"extra": {**ONE_THREAD, **environment}, "folder": str(folder)})
    failure = None
    try:
        papermill.execute_notebook(
            str(source), str(partial), parameters=parameters, progress_bar=False,
            kernel_name="python3", kernel_manager_class=kernel, execution_timeout=timeout, start_timeout=START_TIMEOUT,
        )
    except PapermillExecutionError as error:
        failure = _failure(source, partial, error)
    except (CellTimeoutError, DeadKernelError, RuntimeError, OSError) as error:
        failure = _sudden(partial, error)
    finally:
        ensure_event_loop().close()
    if partial.exists():
        os.replace(partial, target)
    return failure


def _failure(source: Path, partial: Path, error: PapermillExecutionError) -> Failure:
    import nbformat

    cells = nbformat.read(partial, as_version=4).cells
    code = [cell for cell in cells if ERROR_TAG not in cell.metadata.get("tags", [])]
    index = next((at for at, cell in enumerate(code) if _has_error(cell)), error.cell_index)
    n_injected = sum("injected-parameters" in cell.metadata.get("tags", []) for cell in code[:index])
    traceback = _ANSI.sub("", "\n".join(error.traceback))
    return Failure(index + 1 - n_injected, error.source, f"{error.ename}: {error.evalue}", traceback)


def _sudden(partial: Path, error: Exception) -> Failure:
    """A time limit, or a kernel that died: the cell is the first one that the kernel began and never answered."""
    import nbformat

    words = _ANSI.sub("", str(error)).strip().splitlines()
    told = f"{type(error).__name__}: {words[0] if words else 'no message'}"
    if not partial.exists():
        return Failure(0, "", told, str(error))
    cells = [cell for cell in nbformat.read(partial, as_version=4).cells
             if "injected-parameters" not in cell.metadata.get("tags", [])]
    at = next((index for index, cell in enumerate(cells) if _is_unanswered(cell)), None)
    return Failure(0 if at is None else at + 1, "" if at is None else cells[at].source, told, _ANSI.sub("", str(error)))


def _is_unanswered(cell: object) -> bool:
    times = cell.metadata.get("execution", {})
    return cell.cell_type == "code" and bool(times) and "shell.execute_reply" not in times


def _has_error(cell: object) -> bool:
    return any(output.output_type == "error" for output in cell.get("outputs", []))
