"""Build a release and try it, up to the point where somebody has to decide: `make release`.

The sdist and the wheel are built from what is committed, not from what lies about, and the wheel
is installed into a fresh environment and used there. torch is not installed a second time: that
environment sees the packages of .venv, but not the checkout.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from check_docs import SMALL

from lst_cli import __version__

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("lst_cli", "pyproject.toml", "README.md", "LICENSE")
PLANS = sorted(path.name for path in (ROOT / "lst_cli" / "plans").glob("*.toml"))
NEEDED = ("LICENSE", "lst_cli/py.typed", *(f"lst_cli/plans/{name}" for name in PLANS))
ADDED_BY_SETUPTOOLS = ("PKG-INFO", "setup.cfg", "lst_cli.egg-info/", "lst_cli-")


def output(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command that must succeed; give what it prints."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def obstacles(root: Path, version: str) -> list[str]:
    """Say why this checkout cannot be released as this version."""
    found = []
    if output("git", "status", "--porcelain", cwd=root):
        found.append("there are changes that are not committed: git status")
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$", changes, re.MULTILINE):
        found.append(f"CHANGELOG.md has no heading of the form `## {version} - 2026-01-31`")
    if output("git", "tag", "--list", f"v{version}", cwd=root):
        found.append(f"the tag v{version} exists: raise __version__ in lst_cli/__init__.py")
    return found


def complaints(names: Iterable[str]) -> list[str]:
    """Say what an archive lacks and what does not belong in it.

    The names of its files are without the folder that an sdist puts around them.
    """
    files = [name for name in names if name and not name.endswith("/")]
    lacking = [f"lacks {one}" for one in NEEDED if not any(name.endswith(one) for name in files)]
    allowed = (*SOURCES, *ADDED_BY_SETUPTOOLS)
    return lacking + [f"has {name}" for name in files if not name.startswith(allowed)]


def build(folder: Path) -> list[Path]:
    """Build from the committed files; the archives are in dist/ afterwards.

    Raises:
        SystemExit: If an archive does not hold what it should.
    """
    archive = folder / "sources.tar"
    output("git", "archive", "--output", archive, "HEAD", *SOURCES)
    with tarfile.open(archive) as file:
        file.extractall(folder / "sources")
    output(sys.executable, "-m", "build", "--outdir", ROOT / "dist", folder / "sources")
    sdist, wheel = (
        ROOT / "dist" / f"lst_cli-{__version__}{end}" for end in (".tar.gz", "-py3-none-any.whl")
    )
    with tarfile.open(sdist) as file:
        in_sdist = [one.name.partition("/")[2] for one in file.getmembers() if one.isfile()]
    with zipfile.ZipFile(wheel) as zipped:
        in_wheel = zipped.namelist()
    for path, names in ((sdist, in_sdist), (wheel, in_wheel)):
        if wrong := complaints(names):
            raise SystemExit(f"{path.name} {', '.join(wrong)}")
    return [sdist, wheel]


def try_wheel(wheel: Path, folder: Path) -> None:
    """Install the wheel into a fresh environment and use it there.

    Raises:
        SystemExit: If `lst` there is not the wheel's.
    """
    environment = folder / "environment"
    output(sys.executable, "-m", "venv", environment)
    python = environment / "bin" / "python"
    own = Path(output(python, "-c", "import sysconfig as s; print(s.get_path('purelib'))"))
    # A path file adds this folder behind the environment's own and reads no path files in it, so
    # that the checkout, which .venv has through one, is not seen.
    (own / "packages-of-the-checkout.pth").write_text(sysconfig.get_path("purelib") + "\n")
    output(python, "-m", "pip", "install", "--quiet", wheel)
    where = output(python, "-c", "import lst_cli; print(lst_cli.__file__)", cwd=folder)
    if not Path(where).is_relative_to(own):
        raise SystemExit(f"the environment's lst_cli is not the wheel's but {where}")
    lst = environment / "bin" / "lst"
    assert __version__ in output(lst, "--version", cwd=folder)
    assert "table1" in output(lst, "sweep", "--list", cwd=folder)
    settings = [word for setting in SMALL for word in ("--set", setting)]
    print(f"trying {wheel.name}: lst demo, with a thin network", flush=True)
    subprocess.run([lst, "demo", "-w", "demo", *settings], cwd=folder, check=True)


def main(words: list[str]) -> None:
    """Build, try, say what is left to do; with the word `ready` only check if it can be released.

    Raises:
        SystemExit: If anything stands in the way.
    """
    if found := obstacles(ROOT, __version__):
        raise SystemExit("\n".join(f"make release: {one}" for one in found))
    if words == ["ready"]:
        return
    os.environ.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory(prefix="lst-release-") as name:
        archives = build(Path(name))
        try_wheel(archives[1], Path(name))
    print(f"\nlst {__version__} is built and works. To publish it:")
    print(f'  git tag -a v{__version__} -m "lst {__version__}" && git push origin v{__version__}')
    print(f"  twine upload {' '.join(str(one.relative_to(ROOT)) for one in archives)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.stderr or ''}\nmake release: failed: {error.cmd}")
