"""Install detectron2 into the Python that runs this file, without a compiler.

No package index carries upstream's detectron2. What can be had is a wheel of its Python code,
tied to Python 3.10 by nothing but its name: the compiled part is for rotated boxes and
deformable convolution, which this project does not use. The wheel is downloaded with pip,
checked against a known hash, renamed and installed. A detectron2 that already imports is left
alone. The packages that detectron2 imports must be there first: `pip install .` brings them.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

REQUIREMENT = "sal-detectron2==0.7.2"
SHA256 = "491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561"
FILE_NAME = "sal_detectron2-0.7.2-py3-none-any.whl"

ABSENT = 3
PROBE = f"""
import importlib.util, sys
found = importlib.util.find_spec("detectron2")
if found is None:
    sys.exit({ABSENT})
print(found.origin or list(found.submodule_search_locations), flush=True)
import detectron2.checkpoint, detectron2.config, detectron2.data, detectron2.modeling
"""

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command and keep what it prints; detectron2 is kept from looking for OpenCV."""
    environment = os.environ | {"DETECTRON2_DISABLE_CV2": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def has_upstream() -> bool:
    """Whether somebody installed detectron2 under its own name, which is theirs to repair."""
    try:
        importlib.metadata.distribution("detectron2")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def download(folder: Path, run: Run) -> Path:
    """Fetch the wheel with pip, whatever Python this is, under a name that fits every Python.

    Raises:
        SystemExit: If pip cannot fetch it, or its content is not the one that was tried.
    """
    done = run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--only-binary=:all:", "--python-version", "3.10", "--implementation", "cp"),
            *("--abi", "none", "--platform", "any", "--dest", str(folder), REQUIREMENT),
        ]
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise SystemExit(f"{done.stderr.strip()}\npip could not download {REQUIREMENT}")
    found = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(
            f"{wheels[0].name}: the download has sha256 {found}, not {SHA256}; "
            "nothing was installed"
        )
    return wheels[0].rename(folder / FILE_NAME)


def install(run: Run) -> str:
    """Make sure that detectron2 imports; give one line that says what was found or done.

    Raises:
        SystemExit: If it cannot be installed, or does not import afterwards.
    """
    probe = run([sys.executable, "-c", PROBE])
    if probe.returncode == 0:
        return f"detectron2 is there already: {probe.stdout.splitlines()[0]}"
    if probe.returncode != ABSENT and has_upstream():
        raise SystemExit(
            f"{probe.stderr.strip()}\n"
            "a detectron2 is installed and does not import: "
            "build it again for this torch, or uninstall it and run this again"
        )
    with tempfile.TemporaryDirectory() as name:
        options = ["--quiet", "--no-deps", "--force-reinstall"]
        wheel = str(download(Path(name), run))
        done = run([sys.executable, "-m", "pip", "install", *options, wheel])
    if done.returncode != 0:
        raise SystemExit(f"{done.stderr.strip()}\npip could not install {REQUIREMENT}")
    probe = run([sys.executable, "-c", PROBE])
    if probe.returncode != 0:
        raise SystemExit(f"{probe.stderr.strip()}\ndetectron2 was installed and does not import")
    return f"detectron2 was installed from {REQUIREMENT}"


if __name__ == "__main__":
    print(install(run))
