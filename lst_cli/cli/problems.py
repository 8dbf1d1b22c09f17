"""What goes wrong on a machine, and not in `lst`: one line and a hint instead of a traceback.

Errors of torch are known by name and text, because importing torch here would take seconds.
"""

from __future__ import annotations

import re

from lst_cli.errors import LstError
from lst_cli.libraries import explain_import

_GPU_MEMORY = re.compile(r"(CUDA|HIP).*out of memory|DEVICE_ALLOCATION_FAILED|STATUS_ALLOC_FAILED")
_MEMORY = re.compile(r"can(no|')t allocate memory|HOST_ALLOCATION_FAILED|bad_alloc", re.IGNORECASE)
# Of worker processes and what they hand over through shared memory and open files. An error that a
# worker raised itself is "Caught ... in DataLoader worker process".
_READING = re.compile(
    r"DataLoader (worker \(pid|timed out)|pin memory thread|shared memory|file </torch_"
    r"|too many open files|ancdata",
    re.IGNORECASE,
)


def known_problem(error: Exception) -> LstError | None:
    """The error to show for a known problem; None for a bug, which keeps its traceback."""
    if isinstance(error, LstError):
        return error
    if (library := explain_import(error)) is not None:
        return library
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or _GPU_MEMORY.search(text):
        return LstError(
            "not enough memory on the GPU",
            "use a smaller batch_size or image size, or mixed precision (base.amp, step.amp = "
            "true), or close other programs on the GPU",
        )
    if isinstance(error, MemoryError) or _MEMORY.search(text):
        return LstError(
            "not enough memory (RAM)",
            "use a smaller batch_size or image size, or fewer data.workers",
        )
    if reading := next((line for line in text.splitlines() if _READING.search(line)), None):
        return LstError(
            f"the processes that read images failed: {reading}",
            "use fewer (--set data.workers=1, or 0 for none), or give them more shared memory "
            "(/dev/shm; docker run --shm-size=8g) or files (ulimit -n 65536)",
        )
    if isinstance(error, OSError):
        where = error.filename or "reading or writing failed"
        hint = "check that the path is right and can be read" if error.filename else None
        return LstError(f"{where}: {error.strerror or error}", hint)
    return None
