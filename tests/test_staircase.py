"""Which room may use which: an explicit table, so that a new arrow is a decision, not an accident."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "fovea"

# Room: what it uses, and may use. A room stands below all that it uses, so there is no way round in circles.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "randomness": set(),
    "pictures": {"errors"},
    "layers": {"errors"},
    "architectures": {"errors", "layers"},
    "cost": {
        "architectures",  # the published figures, as values to recount
        "errors",
        "files",  # the calibration of a machine, which is kept
        "layers",  # a module run without its weights
        "pictures",  # what a network is drawn from: blocks and stages, as values
    },
    "data": {"errors", "files", "randomness"},
    "bundle": {"architectures", "data", "errors", "files", "layers"},  # a network before it is filled
    "runtime": {"architectures", "bundle", "data", "errors", "files"},
    "evaluation": {"data", "errors", "files", "pictures", "randomness", "runtime"},  # its report is drawn and written
    "training": {
        "__init__",  # the version, for the provenance of a bundle
        "bundle",
        "cost",
        "data",
        "errors",
        "evaluation",
        "files",
        "layers",  # the schedule of a network's drop path
        "pictures",
        "randomness",
        "runtime",
    },
    "transfer": {
        "architectures",
        "bundle",
        "data",
        "errors",
        "evaluation",
        "files",  # hashes of weights, features that are kept
        "randomness",
        "runtime",
        "training",  # fine-tuning beside features that stay fixed
    },
    "experiments": {
        "architectures",  # that a changed network is no longer one of the catalogue
        "bundle",
        "cost",  # multiply-adds, by which networks are made equally dear
        "data",
        "errors",
        "evaluation",
        "files",
        "layers",  # the blocks that an idea is known by
        "pictures",
        "randomness",
        "training",
    },
    "explain": {
        "cost",  # receptive fields, by which patches are cut
        "data",
        "errors",
        "evaluation",  # intervals
        "files",
        "pictures",
        "randomness",
        "runtime",
    },
    "style": {
        "bundle",  # weights read and checked as a bundle's
        "cost",  # receptive fields, by which tiles are cut; memory foreseen
        "data",
        "errors",
        "explain",  # places of a network, and what reaches them; total variation
        "files",
        "randomness",
        "runtime",
        "training",  # the arithmetic that pays on a device
    },
}
SEE_ALL = ("commands", "__init__", "__main__")

Arrow = tuple[str, str]


def room_of(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, wherever in the file, in full, and the line."""
    package = ["fovea", *path.relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module == "fovea":  # from fovea import errors names a room, from fovea import __version__ the front door
                rooms = {p.stem for p in SOURCE.iterdir()}
                yield from ((f"fovea.{a.name}" if a.name in rooms else "fovea", node.lineno) for a in node.names)
            else:
                yield module, node.lineno


def arrows() -> dict[Arrow, str]:
    """Every arrow between two rooms, and the first place that draws it."""
    found: dict[Arrow, str] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for module, line in imported(path):
            if module.split(".")[0] == "fovea":
                target = module.split(".")[1] if "." in module else "__init__"
                if target != room_of(path):
                    found.setdefault((room_of(path), target), f"src/fovea/{path.relative_to(SOURCE)}:{line}")
    return found


def rooms() -> set[str]:
    return {room_of(path) for path in SOURCE.rglob("*.py")}


def test_the_table_names_the_rooms_that_exist_and_no_others() -> None:
    assert set(ALLOWED) | set(SEE_ALL) == rooms(), (
        "a room was added or removed: give it its row in ALLOWED, where design.md's section 1 lists it"
    )


def test_every_arrow_stands_in_the_table() -> None:
    new = [
        f"{place}: {room} imports {target}, which is not in the table; import it elsewhere, or decide that {room} may "
        f"use {target} and add it to ALLOWED[{room!r}] in tests/test_staircase.py"
        for (room, target), place in arrows().items()
        if room not in SEE_ALL and target not in ALLOWED.get(room, set())
    ]
    assert not new, "\n".join(new)


def test_the_table_has_no_arrow_that_the_code_no_longer_uses() -> None:
    idle = {(room, target) for room, targets in ALLOWED.items() for target in targets} - set(arrows())
    assert not idle, f"remove these arrows from ALLOWED, so that the table stays true: {sorted(idle)}"


def test_a_room_uses_only_rooms_that_stand_above_it() -> None:
    above: set[str] = {"__init__"}
    for room, targets in ALLOWED.items():
        assert targets <= above, f"{room} uses {sorted(targets - above)}, which stand below it"
        above.add(room)


def test_cost_and_data_never_meet() -> None:
    reached = {room: set(targets) for room, targets in ALLOWED.items()}
    assert "data" not in reached["cost"]
    assert "cost" not in reached["data"]
    assert "cost" not in reached["bundle"] | reached["runtime"] | reached["evaluation"]
    assert "data" not in set().union(*(reached[r] for r in reached["cost"]))


def test_nobody_imports_the_commands() -> None:
    assert {room for room, target in arrows() if target == "commands"} == {"__main__"}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("options.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_options_import_the_standard_library_errors_and_other_options_only(path: Path) -> None:
    for module, line in imported(path):
        allowed = (
            module.split(".")[0] in sys.stdlib_module_names
            or module == "fovea.errors"
            or (module.startswith("fovea.") and module.endswith(".options"))
        )
        assert allowed, f"{path}:{line}: imports {module}; the command line reads options without torch"


def test_there_are_options_to_check() -> None:
    assert {room_of(p) for p in SOURCE.rglob("options.py")} >= {"data", "training"}


def test_no_room_and_no_file_is_called_utils_or_common() -> None:
    forbidden = {"utils", "util", "common", "helpers", "misc"}
    names = {part.removesuffix(".py") for p in SOURCE.rglob("*.py") for part in p.relative_to(SOURCE).parts}
    assert not names & forbidden


def test_imports_of_every_kind_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "errors.py").touch()
    path = tmp_path / "data" / "x.py"
    path.write_text(
        "import fovea.cost.count as c\n"
        "from fovea import errors, __version__\n"
        "from .. import bundle\n"
        "from ..runtime import model\n"
        "if TYPE_CHECKING:\n    from fovea.training.train import Run\n"
        "def f():\n    import fovea.layers\n"
    )
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    assert {module for module, _ in imported(path)} == {
        "fovea.cost.count",
        "fovea.errors",
        "fovea",
        "fovea.runtime",
        "fovea.training.train",
        "fovea.layers",
    }
