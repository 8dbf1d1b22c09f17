"""What torch says where a machine is too small, and what users are told."""

from __future__ import annotations

import errno
import resource

import pytest

from lst_cli.cli.main import raise_file_limit
from lst_cli.cli.problems import known_problem
from lst_cli.errors import LstError

GPU, RAM = "not enough memory on the GPU", "not enough memory (RAM)"
READING = "the processes that read images failed: "


def named(name: str, text: str = "") -> Exception:
    """torch's errors, which this file does not import."""
    error: Exception = type(name, (RuntimeError,), {})(text)
    return error


@pytest.mark.parametrize(
    ("error", "message", "advice"),
    [
        (named("OutOfMemoryError", "Tried to allocate 2 GiB"), GPU, "base.amp"),
        (named("AcceleratorError", "CUDA error: out of memory\nCUDA kernel"), GPU, "batch_size"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `c`"), GPU, "step.amp"),
        (RuntimeError("CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), GPU, "batch_size"),
        (type("_ArrayMemoryError", (MemoryError,), {})("Unable to allocate 9 GiB"), RAM, "workers"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), RAM, "batch_size"),
        (RuntimeError("unable to mmap 9 bytes from file </torch_1>: Cannot allocate memory (12)"),
         RAM, "workers"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), RAM, "workers"),
        (RuntimeError("std::bad_alloc"), RAM, "batch_size"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible"),
         READING + "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible",
         "data.workers"),
        (RuntimeError("DataLoader timed out after 600 seconds"),
         READING + "DataLoader timed out after 600 seconds", "ulimit -n"),
        (RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback:\n"
                      "RuntimeError: unable to allocate shared memory(shm) for file </torch_1>"),
         READING + "RuntimeError: unable to allocate shared memory(shm) for file </torch_1>",
         "/dev/shm"),
        (OSError(errno.EMFILE, "Too many open files"),
         READING + "[Errno 24] Too many open files", "ulimit -n"),
        (OSError(errno.EIO, "Input/output error", "disk"), "disk: Input/output error", "the path"),
    ],
)  # fmt: skip
def test_what_the_machine_lacks_is_one_line_with_what_to_change(error, message, advice):
    known = known_problem(error)
    assert known is not None
    assert known.message == message
    assert advice in (known.hint or "")


@pytest.mark.parametrize(
    "bug",
    [
        RuntimeError("a bug"),
        KeyError("Caught KeyError in DataLoader worker process 0.\nOriginal Traceback:\n  in f"),
    ],
)
def test_a_bug_is_no_known_problem_also_in_a_worker(bug):
    assert known_problem(bug) is None
    ours = LstError("ours")
    assert known_problem(ours) is ours


def test_as_many_files_may_be_open_as_the_system_allows():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(hard, 65536), hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
