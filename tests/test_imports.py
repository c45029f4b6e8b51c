"""Who may import whom: the rooms stand on floors, and a room imports only from lower ones (docs/architecture.md)."""

import ast
import pathlib
import re

import pytest

import quarkaudio_jax

PACKAGE = pathlib.Path(quarkaudio_jax.__file__).parent
FLOORS = (
    {"types", "errors"},
    {"io", "sharding", "tokens"},
    {"config", "nn"},
    {"configs", "codec", "ssl", "text", "clap", "lm", "discriminators", "losses", "metrics"},
    {"data", "report"},
    {"weights"},
    {"inference"},
    {"training", "preparation", "evaluation"},
    {"compile_report"},
    {"cli"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FRONT = {"__init__", "__main__"}
"""Modules that stand above all floors; so do the thin `python -m quarkaudio_jax.VERB`."""
WITHOUT_JAX = ("types", "errors", "config", "configs", "io", "data", "tokens.tasks", "tokens.sequence")
"""What data workers import."""
WITH_TORCH = (
    "weights/pickles.py",
    "weights/upstream.py",
    "weights/upstream_unise.py",
    "weights/verify.py",
    "evaluation/model_metrics.py",
    "evaluation/baselines.py",
)
"""Modules about PyTorch's own objects; they import it inside functions."""
FILES = sorted(PACKAGE.rglob("*.py"))


def module(path: pathlib.Path) -> str:
    """The module's name without the package's."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for path in FILES}


def imports(path: pathlib.Path, inside_functions: bool | None = None) -> set[str]:
    """Full names of what a file imports: everywhere, or only inside (True) or outside (False) of functions."""
    tree = ast.parse(path.read_text())
    inner = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    out = set()
    for node in ast.walk(tree):
        if inside_functions is not None and (id(node) in inner) != inside_functions:
            continue
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level and path.parent.name == "configs":  # so that a copy of the folder uses its own files
                continue
            assert node.level == 0, f"{path}: relative import"
            out |= {f"{node.module}.{alias.name}" for alias in node.names}
    return out


def own(names: set[str]) -> set[str]:
    """The package's modules among imported names."""
    plain = {name.removeprefix("quarkaudio_jax.") for name in names if name.startswith("quarkaudio_jax.")}
    return {name if name in MODULES else name.rpartition(".")[0] for name in plain} - {""}


def room(name: str) -> str:
    """The folder or top-level module that a module belongs to."""
    return name.partition(".")[0]


def thin(path: pathlib.Path) -> bool:
    """Whether a file is `python -m quarkaudio_jax.VERB` and nothing more."""
    return path.parent == PACKAGE and len(path.read_text().splitlines()) <= 6 and "cli" in map(room, own(imports(path)))


def test_every_room_is_listed():
    found = {room(name) for name, path in MODULES.items() if not thin(path)} - FRONT - {""}
    assert found == set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_from_lower_floors(path):
    here = room(module(path))
    if here in FRONT or thin(path):
        return
    wrong = {name for name in own(imports(path)) if room(name) != here and FLOOR[room(name)] >= FLOOR[here]}
    assert not wrong


def test_there_is_no_circle():
    edges = {name: own(imports(path)) - {name} for name, path in MODULES.items()}
    while ends := [name for name, targets in edges.items() if not targets & set(edges)]:
        for name in ends:
            del edges[name]
    assert not edges


def test_only_the_command_line_imports_the_package_inside_functions():
    """There, so that `--help` does not wait for JAX; the few others are said to be lazy where they stand."""
    for name, path in MODULES.items():
        if room(name) != "cli":
            assert not own(imports(path, inside_functions=True)), name


@pytest.mark.parametrize("name", WITHOUT_JAX)
def test_data_workers_need_no_jax(name):
    for each, path in MODULES.items():
        if each == name or each.startswith(f"{name}."):
            assert not re.search(r"^\s*(import|from) (jax|flax|torch|tensorflow)\b", path.read_text(), re.M), path


def test_nothing_needs_torch():
    for path in FILES:
        if str(path.relative_to(PACKAGE)) not in WITH_TORCH:
            names = {name.partition(".")[0] for name in imports(path)}
            assert not names & {"torch", "transformers", "tensorflow"}, path
