"""Links and commands in the documentation; `make docs` also runs the commands."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def docs(load_script):
    return load_script("check_docs")


def test_links_lead_somewhere_and_commands_are_understood(docs):
    assert [str(problem) for problem in docs.check(ROOT)] == []


def write_pages(root: Path, text: str) -> Path:
    (root / "docs").mkdir()
    (root / "docs" / "other.md").write_text("# One `lst step`: two!\n\n## Again\n\n## Again\n")
    (root / "CHANGELOG.md").touch()
    (root / "README.md").write_text(text)
    return root / "README.md"


@pytest.mark.parametrize(
    "target",
    [
        "https://arxiv.org/abs/2004.00900",
        "docs",
        "docs/other.md",
        "docs/other.md#one-lst-step-two",
        "docs/other.md#again-1",
        "#here-it-is",
    ],
)
def test_a_link_that_leads_somewhere_is_none_to_report(docs, tmp_path, target):
    write_pages(tmp_path, f"## Here it is\n\n[text]({target})\n\n`[code](nowhere.md)`\n")
    assert docs.check(tmp_path) == []


@pytest.mark.parametrize(
    ("link", "what"),
    [
        ("[text](docs/absent.md)", "no such file"),
        ("![a picture](docs/absent.png)", "no such file"),
        ("[text][later]\n\n[later]: absent.md", "no such file"),
        ("| table |\n|---|\n| [cell](absent.md) |", "no such file"),
        ("[text](../outside.md)", "no such file"),
        ("[text](docs/other.md#again-2)", "no such heading"),
        ("[text](#absent)", "no such heading"),
        ("[text](https:///path)", "not an address"),
        ("[text](ftp://host.org/file)", "neither"),
    ],
)
def test_a_link_that_leads_nowhere_is_found(docs, tmp_path, link, what):
    (tmp_path / "outside.md").touch()
    root = tmp_path / "checkout"
    root.mkdir()
    page = write_pages(root, f"# Top\n\n{link}\n")
    (problem,) = docs.check(root)
    assert problem.page == page
    assert problem.line >= 3
    assert what in problem.what


def test_calls_are_found_in_shell(docs):
    text = """\
# lst nothing
X=1 lst eval && lst step \\
    --all  # lst no
for t in 1 2; do lst eval --phase $t; done >out
make lst
lst sweep table1 … --only 'a b' &
"""
    assert list(docs.lst_calls(text)) == [
        ["eval"],
        ["step", "--all"],
        ["eval", "--phase", "$t"],
        ["sweep", "table1", "--only", "a b"],
    ]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("stepp", "stepp"),
        ("step --nothing", "--nothing"),
        ("step one", "takes no one"),
        ("step --replay some", "'some'"),
        ("split --train a.json --val b.json --b many", "'many'"),
        ("train-base --set base.nothing=1", "base.nothing"),
        ("train-base --set base.lr=fast", "base.lr"),
        ("split --val b.json --b 1 --phases 1", "--train"),
        ("figure absent", "'absent'"),
        ("report -w", "requires an argument"),
    ],
)
def test_a_command_that_lst_would_refuse_is_found(docs, tmp_path, words, what):
    write_pages(tmp_path, f"# Top\n\n```sh\nlst status\nlst {words}\n```\n")
    (problem,) = docs.check(tmp_path)
    assert what in problem.what


@pytest.mark.parametrize(
    "code", ["lst split", "lst figure NAME", "lst COMMAND --help", "lst status -w"]
)
def test_the_text_may_name_a_command_or_option_without_all_it_needs(docs, tmp_path, code):
    write_pages(tmp_path, f"# Top\n\nSee `{code}`.\n")
    assert docs.check(tmp_path) == []


def test_the_text_may_not_name_an_option_that_is_not_there(docs, tmp_path):
    write_pages(tmp_path, "# Top\n\nSee `lst split --nothing`.\n")
    (problem,) = docs.check(tmp_path)
    assert (problem.line, "--nothing" in problem.what) == (3, True)


def test_what_is_replaced_to_run_a_block_is_still_in_the_pages(docs):
    text = (ROOT / "README.md").read_text() + (ROOT / "docs" / "tutorial" / "demo.md").read_text()
    assert [
        piece for piece in (*docs.INSTEAD, docs.ORIGINAL, docs.WEIGHTS) if piece not in text
    ] == []
