"""The public names: few, sorted, documented, and loaded without torch until one needs it."""

import ast
import importlib.metadata
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fovea

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "src" / "fovea").rglob("*.py"))
HEAVY = ("torch", "numpy", "PIL", "sklearn", "matplotlib", "lightning", "safetensors", "rich", "tyro")


def loaded_after(code: str) -> set[str]:
    """Which top-level packages a fresh Python holds after some code."""
    script = f"{code}\nimport sys\nprint(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_the_public_names_are_sorted_unique_and_about_twenty() -> None:
    assert fovea.__all__ == sorted(set(fovea.__all__))
    assert 10 <= len(fovea.__all__) <= 25
    assert dir(fovea) == fovea.__all__


@pytest.mark.parametrize("name", fovea.__all__)
def test_a_public_name_can_be_imported_and_says_what_it_is(name: str) -> None:
    value = getattr(fovea, name)
    assert callable(value)
    assert value.__module__.startswith("fovea.")
    assert len(inspect.getdoc(value) or "") > 20
    assert getattr(fovea, name) is value


def test_type_checkers_and_python_agree_on_the_names() -> None:
    tree = ast.parse(Path(fovea.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    homes = {
        (alias.asname or alias.name): (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(homes) == fovea.__all__
    for name, (module, attribute) in homes.items():
        assert getattr(fovea, name) is getattr(importlib.import_module(str(module)), attribute)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'fovea' has no attribute 'nothing'"):
        fovea.nothing  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "import fovea",
        "import fovea; assert 'lenet5' in fovea.list_architectures('lenet*')",
        "import fovea; fovea.TrainingOptions(epochs=3)",
        "import fovea; fovea.FoveaError('x')",
        "import fovea.data.names, fovea.data.options, fovea.training.options",
    ],
)
def test_what_needs_no_tensors_imports_nothing_heavy(code: str) -> None:
    assert not loaded_after(code) & set(HEAVY)


def test_the_check_for_heavy_imports_sees_them() -> None:
    assert {"numpy"} <= loaded_after("import numpy")


def test_the_version_is_one_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert ROOT / project["tool"]["hatch"]["version"]["path"] == ROOT / "src" / "fovea" / "__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.?(dev|a|b|rc)\d+)?", fovea.__version__)
    assert importlib.metadata.version(project["project"]["name"]) == fovea.__version__


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_every_public_thing_has_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path}: the module has no docstring"
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    public = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
    public += [
        node
        for owner in public
        if isinstance(owner, ast.ClassDef)
        for node in owner.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    silent = [f"{path}:{node.lineno}: {node.name}" for node in public if not ast.get_docstring(node)]
    assert not silent
