"""Whether two annotation files are of one release and mean the same classes."""

from __future__ import annotations

from lst_cli.annotations.problems import Problem, count_of, examples
from lst_cli.annotations.read import Dataset


def check_same_classes(train: Dataset, val: Dataset) -> list[Problem]:
    """Check that both files are of one release and mean the same classes.

    LVIS v0.5 and v1 number other classes with the same ids, so that a model of
    one evaluated on the other gives wrong numbers without any complaint.

    Args:
        train: The training file.
        val: The validation file.

    Returns:
        At most one error about layouts and one about classes.
    """
    found: list[Problem] = []
    if train.layout != val.layout:
        found.append(
            Problem(
                "error",
                "layouts-differ",
                f"the training file has the layout {train.layout}, "
                f"the validation file {val.layout}",
                hint="take both files from one release; if they are, give the images of both "
                "the same fields (file_name in both or in neither)",
            )
        )
    ours = dict(zip(train.categories.ids.tolist(), train.categories.names, strict=True))
    theirs = dict(zip(val.categories.ids.tolist(), val.categories.names, strict=True))
    different = [
        number for number in sorted(ours | theirs) if ours.get(number) != theirs.get(number)
    ]
    if different:
        found.append(
            Problem(
                "error",
                "classes-differ",
                f"{count_of(len(different), 'category_id has', 'category_ids have')} another name "
                "in the validation file than in the training file, or "
                f"{'is' if len(different) == 1 else 'are'} in only one of them",
                len(different),
                examples(
                    f"category {number}: {_quoted(ours.get(number))} in training, "
                    f"{_quoted(theirs.get(number))} in validation"
                    for number in different
                ),
                "take both files from one release (LVIS v0.5 and v1 have different classes)",
            )
        )
    return found


def _quoted(name: str | None) -> str:
    """A class name in a sentence."""
    return "nothing" if name is None else f'"{name}"'
