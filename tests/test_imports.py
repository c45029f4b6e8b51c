"""Who may import whom: the rooms keep to the table of the design."""

import ast
import pathlib

import pytest

import quarkaudio_jax

PACKAGE = pathlib.Path(quarkaudio_jax.__file__).parent
MODELS = {"codec", "ssl", "text", "adversary", "losses", "lm", "metrics"}
EVERYTHING = MODELS | {
    "errors",
    "atomic",
    "nn",
    "types",
    "schema",
    "tasks",
    "data",
    "parallel",
    "training",
    "bridge",
    "preparation",
    "cli",
    "outputs",
    "api",
    "evaluation",
    "task_model",
    "unise_model",
}
_ALLOWED = {
    "errors": set(),
    "atomic": set(),
    "types": set(),
    "schema": set(),
    "configs": {"schema"},
    "nn": {"types"},
    **{room: {"nn", "types", "schema"} for room in MODELS},
    "codec": {"nn", "types", "schema", "atomic"},
    "tasks": {"types", "schema", "lm"},
    "data": {"types", "schema", "tasks", "atomic"},
    "parallel": {"nn"},
    "training": MODELS | {"bridge", "nn", "types", "schema", "tasks", "data", "parallel", "evaluation", "atomic"},
    "bridge": MODELS | {"nn", "types", "schema", "atomic"},
}
ALLOWED = {room: rooms | {"errors"} for room, rooms in _ALLOWED.items()}
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(path: pathlib.Path) -> set[str]:
    """Full names of the modules that a file imports anywhere."""
    out = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level and path.parent.name == "configs":  # so that a copy of the folder uses its own files
                continue
            assert node.level == 0, f"{path}: relative import"
            out.add(node.module)
            out |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "quarkaudio_jax"}
    return out


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("quarkaudio_jax.")}
    assert ours - {room} <= ALLOWED.get(room, EVERYTHING)


def test_data_workers_need_no_jax():
    for path in [
        PACKAGE / "types.py",
        PACKAGE / "errors.py",
        PACKAGE / "atomic.py",
        *(p for room in ("schema", "tasks", "data") for p in (PACKAGE / room).rglob("*.py")),
    ]:
        assert not {n for n in imported(path) if n.split(".")[0] in ("jax", "flax", "torch", "tensorflow")}, path


def test_nothing_needs_torch():
    for path in FILES:
        if path.name not in (
            "pickles.py",
            "upstream.py",
            "verify.py",
            "judges.py",
            "peers.py",
        ):  # what is PyTorch's, imported then only
            assert not {n for n in imported(path) if n.split(".")[0] in ("torch", "transformers", "tensorflow")}, path
