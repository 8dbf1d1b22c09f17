"""Check the documentation: links, every `lst` command in it, and that its commands run.

    python .ci/check_docs.py          links and commands; seconds
    python .ci/check_docs.py run      and run the command blocks of README and the tutorial; minutes

Nothing here needs the net: addresses of the web are only looked at. Blocks run in an empty
directory, where a small drawn set lies under the names of LVIS's files (see `prepare`).
"""

from __future__ import annotations

import itertools
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import click
from markdown_it import MarkdownIt
from markdown_it.token import Token

from lst_cli.errors import LstError

ROOT = Path(__file__).resolve().parent.parent
SHELLS = ("sh", "bash")

# What replaces a piece of a block when it is run; everything else runs as it stands.
INSTEAD = {
    "make setup": ":",  # has been run: this is .venv
    "make demo": "lst demo",
    "--b 270 --phases 6": "--b 7 --phases 3",  # the drawn set has 28 classes
    # A network that has hardly been trained cannot tell the new class from others.
    "lst extend --train few.json": "lst extend --anyway --train few.json",
}
ORIGINAL = "--weights model_final.pth --config config.yaml"
WEIGHTS = "model_final_f10217.pkl"
# A thin network and one epoch a phase: what is tried is that commands run, not what is learned.
SMALL = (
    "preset=lite-paper", "data.workers=0", "data.min_size=[64]", "data.min_size_test=64",
    "base.epochs=1", "base.decay_epochs=[]", "base.warmup_iterations=2",
    "step.epochs=1", "step.decay_epochs=[]", "eval.detections=20",
    "detectron2.MODEL.FPN.OUT_CHANNELS=16", "detectron2.MODEL.ROI_BOX_HEAD.FC_DIM=32",
    "detectron2.MODEL.ROI_MASK_HEAD.CONV_DIM=16", "model.mask_mlp_hidden=8",
)  # fmt: skip


class Piece(NamedTuple):
    """Text of a page: what is wrong there, or the commands of a fenced block."""

    page: Path
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.what}"


def parse(page: Path) -> list[Token]:
    """Read a page as Markdown."""
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def pieces(page: Path) -> Iterator[tuple[int, Token]]:
    """Visit every token of a page, those within a line of text too, with its line number."""
    line = 1
    for token in parse(page):
        line = token.map[0] + 1 if token.map else line
        yield line, token
        for child in token.children or ():
            yield line, child


def is_block(token: Token) -> bool:
    """Whether a token is a block of shell."""
    return token.type == "fence" and token.info.strip() in SHELLS


# --- links ---------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    found: Counter[str] = Counter()
    for token, inline in itertools.pairwise(parse(page)):
        if token.type == "heading_open":
            parts = [one for one in inline.children or () if one.type in ("text", "code_inline")]
            text = "".join(one.content for one in parts)
            found[re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")] += 1
    again = {f"{name}-{number}" for name, count in found.items() for number in range(1, count)}
    return {*found, *again}


def check_link(page: Path, target: str, root: Path) -> str | None:
    """Say what is wrong with a link or an image, if anything is."""
    address = urlsplit(target)
    if address.scheme in ("http", "https"):
        return None if "." in address.netloc else f"{target}: not an address"
    if address.scheme or address.netloc:
        return f"{target}: neither a web address nor a file of the repository"
    path = page.parent / unquote(address.path) if address.path else page
    if not path.resolve().is_relative_to(root.resolve()) or not path.exists():
        return f"{target}: no such file in the repository"
    if address.fragment and (path.suffix != ".md" or address.fragment not in anchors(path)):
        return f"{target}: no such heading"
    return None


def check_links(page: Path, root: Path) -> Iterator[Piece]:
    """Find the links and images of a page that lead nowhere."""
    for line, token in pieces(page):
        target = token.attrGet({"link_open": "href", "image": "src"}.get(token.type, ""))
        if target is not None and (what := check_link(page, str(target), root)):
            yield Piece(page, line, what)


# --- commands ------------------------------------------------------------------------------------


def lst_calls(text: str) -> Iterator[list[str]]:
    """The words after `lst` of every call in a piece of shell."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()<>")
        lexer.whitespace_split = True
        call: list[str] = []
        for word in [*lexer, ";"]:
            if not set(word) <= set(";&|()<>"):
                call.append(word)
                continue
            while call and (call[0] in ("do", "then") or re.match(r"\w+=", call[0])):
                del call[0]
            if call and call[0] == "lst":
                yield [each for each in call[1:] if each != "…"]
            call = []


def is_placeholder(value: object) -> bool:
    """Tell what stands for a value (FILE, N, $t) from one."""
    return bool(re.fullmatch(r"[A-Z_|.]+|.*\$.*", str(value)))


def check_call(cli: click.Group, words: list[str], *, complete: bool) -> str | None:
    """Say why `lst` would refuse the words that follow it, if it would.

    Files are not looked for; required options only if the call has to be complete.
    """
    from lst_cli.settings.load import load_settings

    # With the command's own settings: click keeps the help option that it makes here.
    context = click.Context(cli, info_name="lst", **cli.context_settings)
    try:
        _, rest, _ = cli.make_parser(context).parse_args(list(words))
        if not rest or is_placeholder(rest[0]):
            return None
        name, command, rest = cli.resolve_command(context, rest)
        assert command is not None
        context = click.Context(command, info_name=name, parent=context, **command.context_settings)
        values, rest, _ = command.make_parser(context).parse_args(rest)
        if rest:
            return f"lst {name} takes no {rest[0]}"
        for parameter in command.get_params(context):
            given = values.get(parameter.name or "")
            several = list(given) if isinstance(given, (list, tuple)) else [given]
            literal = [value for value in several if isinstance(value, str)]
            if complete and parameter.required and not literal:
                return f"lst {name}: {parameter.get_error_hint(context)} is missing"
            if parameter.name == "overrides":
                load_settings(None, literal)
            if isinstance(parameter.type, (click.Path, click.File)):
                continue
            for value in literal:
                if not is_placeholder(value):
                    parameter.type.convert(value, parameter, context)
    except click.BadOptionUsage as error:
        # The text may name an option without its value.
        lacks = not complete and "requires an argument" in error.message
        return check_call(cli, [*words, "VALUE"], complete=False) if lacks else error.message
    except click.ClickException as error:
        return error.format_message()
    except LstError as error:
        return str(error)
    return None


def check_commands(page: Path, cli: click.Group) -> Iterator[Piece]:
    """Find the calls of `lst`, in blocks and in the text, that `lst` would not understand."""
    for line, token in pieces(page):
        in_text = token.type == "code_inline" and token.content.startswith("lst ")
        if is_block(token) or in_text:
            for words in lst_calls(token.content):
                if what := check_call(cli, words, complete=not in_text):
                    yield Piece(page, line, what)


def check(root: Path = ROOT) -> list[Piece]:
    """Everything that is wrong and can be found without running anything."""
    from lst_cli.cli.main import cli

    pages = [root / "README.md", root / "CHANGELOG.md", *sorted(root.glob("docs/**/*.md"))]
    return [one for page in pages for one in (*check_links(page, root), *check_commands(page, cli))]


# --- running -------------------------------------------------------------------------------------


def prepare(folder: Path) -> None:
    """Put a drawn set where the pages have LVIS, and small settings in every workspace."""
    from lst_cli.demo.draw import Parameters, draw_demo
    from lst_cli.split.init import write_settings

    drawn = draw_demo(folder / "drawn", Parameters(size=64, head=30, val_per_class=1))
    drawn.train_json.rename(folder / "lvis_v1_train.json")
    drawn.val_json.rename(folder / "lvis_v1_val.json")
    drawn.images_dir.rename(folder / "coco")
    for name in ("lst-demo", "lst-workspace", "my-demo"):
        (folder / name).mkdir()
        write_settings(folder / name / "lst.toml", SMALL)


def write_weights(folder: Path) -> None:
    """Write the demo's base phase as a file of the model zoo: a pickle of arrays."""
    from safetensors.numpy import load_file

    from lst_cli.workspace.store import Workspace

    record = {"model": load_file(Workspace(folder / "lst-demo").phase(0).model)}
    (folder / WEIGHTS).write_bytes(pickle.dumps(record))


def write_original(folder: Path) -> None:
    """Write a trained Mask R-CNN as detectron2 does, and two annotated photos of a new class."""
    settings = itertools.chain.from_iterable(("--set", one) for one in SMALL)
    train, val = folder / "lvis_v1_train.json", folder / "lvis_v1_val.json"
    data = ["--train", train, "--val", val, "--images", folder / "coco", "--joint", *settings]
    split = ["split", *data, "--set", "model.canonical_box_size=224"]
    training = ["train-joint", "--row", "joint-softmax", "--image-passes", "40"]
    for words in (split, training):
        call = [sys.executable, "-W", "ignore", "-m", "lst_cli", *map(str, words)]
        subprocess.run(
            [*call, "-w", folder / "original"], cwd=ROOT, check=True, capture_output=True
        )
    write = (
        "from sys import argv; from pathlib import Path\n"
        "from lst_cli.workspace.store import Workspace\n"
        "from tests.fixtures.detectron2_files import write_as_detectron2\n"
        "write_as_detectron2(Workspace(Path(argv[1])), Path(argv[2]))"
    )
    paths = [folder / "original", folder / "detectron2"]
    subprocess.run([sys.executable, "-c", write, *paths], cwd=ROOT, check=True)
    for path in (folder / "detectron2").iterdir():
        path.rename(folder / path.name)
    known = json.loads(train.read_text())
    objects = known["annotations"][:2]
    images = [one for one in known["images"] if one["id"] in {o["image_id"] for o in objects}]
    few = {
        "images": images,
        "annotations": [{**one, "category_id": 1} for one in objects],
        "categories": [{"id": 1, "name": "something new"}],
    }
    (folder / "few.json").write_text(json.dumps(few))
    (folder / "photos").mkdir()
    for name in (Path(one["coco_url"]).name for one in images):
        [path] = (folder / "coco").rglob(name)
        shutil.copy(path, folder / "photos")


def run_block(block: Piece, folder: Path) -> bool:
    """Run a block with bash, which stops at the first command that fails; say whether none did."""
    text = block.what
    for piece, other in INSTEAD.items():
        text = text.replace(piece, other)
    if WEIGHTS in text:
        write_weights(folder)
    if ORIGINAL in text:
        write_original(folder)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LST_")}
    environment["PATH"] = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{environment['PATH']}"
    began = time.monotonic()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    seconds = time.monotonic() - began
    good = done.returncode == 0
    what = f"ran in {seconds:.0f} s" if good else f"exit code {done.returncode}"
    print(block._replace(page=block.page.relative_to(ROOT), what=what), flush=True)
    if not good:
        print("\n".join(done.stdout.splitlines()[-30:]), flush=True)
    return good


def run_blocks() -> bool:
    """Run the blocks of README and the tutorial, one after the other, in one directory."""
    blocks = [
        Piece(page, line, token.content)
        for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/tutorial/*.md")))
        for line, token in pieces(page)
        if is_block(token)
    ]
    with tempfile.TemporaryDirectory(prefix="lst-docs-") as name:
        prepare(Path(name))
        return all(run_block(block, Path(name)) for block in blocks)


def main(words: list[str]) -> int:
    """Print what is wrong, and with the word `run` run the blocks too; give the exit code."""
    problems = check()
    for problem in problems:
        print(problem._replace(page=problem.page.relative_to(ROOT)))
    if words == ["run"] and not problems:
        return 0 if run_blocks() else 1
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
