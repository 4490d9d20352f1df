"""The tree of errors is what its docstring draws."""

import inspect
import re

import pytest

from fovea import errors
from fovea.errors import FoveaError, Stopped, suggestion

CLASSES = {
    name: value for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, FoveaError)
}


def drawn() -> dict[str, tuple[str | None, str]]:
    """Parent and exit codes of every class, as the docstring draws them."""
    tree: dict[str, tuple[str | None, str]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.fullmatch(r"    (?P<lines>[│├└─ ]*)(?P<name>[A-Z]\w+) +(?P<code>[\d/]+)(  .*)?", line)
        if found:
            depth = len(found["lines"]) // 4
            above[depth:] = [found["name"]]
            tree[found["name"]] = (above[depth - 1] if depth else None, found["code"])
    return tree


def test_every_class_is_drawn_and_every_drawn_class_exists() -> None:
    assert set(drawn()) == set(CLASSES)
    assert len(CLASSES) == 12


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_class_stands_below_the_parent_that_is_drawn(name: str) -> None:
    parent = drawn()[name][0]
    assert CLASSES[name].__bases__[0] is (Exception if parent is None else CLASSES[parent])


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"Stopped"}))
def test_a_class_has_the_exit_code_that_is_drawn(name: str) -> None:
    assert CLASSES[name].exit_code == CLASSES[name]("a message").exit_code == int(drawn()[name][1])
    assert str(CLASSES[name]("a message")) == "a message"


def test_a_stop_ends_with_128_and_the_signal() -> None:
    codes = [Stopped("saved", number).exit_code for number in (2, 15)]
    assert "/".join(map(str, codes)) == drawn()["Stopped"][1] == "130/143"
    assert str(Stopped("saved in runs/1", 2)) == "saved in runs/1"


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("UsageError", ValueError),
        ("DataError", ValueError),
        ("UnreadableImage", ValueError),
        ("ShapeError", ValueError),
        ("MachineError", OSError),
        ("NumbersError", ArithmeticError),
        ("RunInUse", RuntimeError),
        ("Stopped", RuntimeError),
    ],
)
def test_errors_are_also_the_builtin_that_python_users_expect(name: str, builtin: type[Exception]) -> None:
    assert issubclass(CLASSES[name], builtin)


@pytest.mark.parametrize(
    ("name", "known", "words"),
    [
        ("lenet", ["lenet5", "alexnet"], " Did you mean lenet5 or alexnet?"),
        ("digit", ["digits", "mnist"], " Did you mean digits?"),
        ("zzz", ["digits", "mnist"], ""),
        ("digits", [], ""),
        ("a1", ["a2", "a3", "a4", "a5"], None),
    ],
)
def test_a_suggestion_names_what_is_close_and_at_most_three(name: str, known: list[str], words: str | None) -> None:
    said = suggestion(name, iter(known))
    if words is None:
        assert said.count(" or ") == 2
        assert said.endswith("?")
    else:
        assert said == words
