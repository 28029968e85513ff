"""The architecture: four floors, imports only downward, and nothing that runs what a stranger's file says."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"models": 0, "utils": 1, "trainers": 2, "Visualization": 3, "benchmarks": 3}
# Arrays in, figures out: leaves of the top floor that anyone may use.
LEAVES = {f"Visualization.{n}" for n in ("figures", "bars", "people", "ensembles", "explanations", "style", "saving")}
ELSEWHERE = {"tests", "saved", "results", ".venv"}


def programs() -> list[Path]:
    """Every Python file of the project that is not a test."""
    paths = [path.relative_to(ROOT) for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in ELSEWHERE]
    return sorted(path for path in paths if not any(part.startswith(".") for part in path.parts))


SOURCES = programs()
TREES = {path: ast.parse((ROOT / path).read_text(), str(path)) for path in SOURCES}
MODULES = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in SOURCES}


def floor(module: str) -> int:
    """0 to 3; programs at the top level stand on the top floor."""
    return FOLDERS.get(module.split(".")[0], 3)


def name_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path, *, at_once: bool = False) -> set[str]:
    """Our own modules that ``path`` imports, anywhere in the file, or only those imported when it is itself."""
    found = set()
    for node in TREES[path].body if at_once else ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = name_of(path).split(".")
            package = package if path.name == "__init__.py" else package[:-1]
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names}
    return {module for module in found if module in MODULES}


def calls(path: Path) -> Iterator[tuple[int, str, dict[str, ast.expr]]]:
    """(line, dotted name, keyword arguments) of every call in ``path``."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func), {k.arg: k.value for k in node.keywords if k.arg}


def offences(found: Iterator[str]) -> None:
    assert not (lines := sorted(found)), "\n".join(lines)


def test_there_is_something_to_look_at():
    assert {"main_fer.py", "utils/config.py", "trainers/trainer.py", "models/registry.py"} <= {
        path.as_posix() for path in SOURCES
    }
    assert "utils.datasets.faces" in imported(Path("utils/datasets/fer2013.py"))
    assert LEAVES <= MODULES


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_go_downward(path):
    mine = floor(name_of(path))
    for module in imported(path):
        assert floor(module) <= mine or module in LEAVES, f"{path} imports {module}, which stands above it"
        assert mine == 3 or module.split(".")[0] in FOLDERS, f"{path} imports the program {module}"


def test_no_peer_of_the_benchmarks_knows_our_training():
    for name in ("plain", "lightning_peer", "timm_peer", "job", "pacer", "worker"):
        assert not any(module.split(".")[0] == "trainers" for module in imported(Path(f"benchmarks/{name}.py"))), name
    assert "trainers.learner" in imported(Path("benchmarks/ours.py"))


def test_models_know_nothing_of_the_rest():
    for path in SOURCES:
        if path.parts[0] == "models":
            assert all(module.split(".")[0] == "models" for module in imported(path)), path


def test_leaves_import_nothing_but_leaves_and_the_lowest_floors():
    for path in SOURCES:
        if name_of(path) in LEAVES:
            allowed = LEAVES | {"Visualization", "utils.labels", "utils.files", "utils.errors", "utils.metrics"}
            assert imported(path) <= allowed, path


def test_no_circles():
    graph = {name_of(path): imported(path, at_once=True) - {name_of(path)} for path in SOURCES}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " imports ".join([*way[way.index(module) :], module])
        if module not in done:
            for other in graph[module]:
                visit(other, (*way, module))
            done.add(module)

    for module in graph:
        visit(module, ())
    assert done == set(graph)


def test_no_star_imports():
    offences(
        f"{path}:{node.lineno}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    )


def test_nothing_catches_everything():
    """A bare except or `except Exception` hides bugs; BaseException is caught only to be raised elsewhere.

    One place may: when a training has ended well, no bug in its report's page makes it a failure.
    """
    found = [
        path.as_posix()
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or "Exception" in ast.unparse(node.type).split("."))
    ]
    assert found == ["trainers/outcome.py"]


def is_constant(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_nothing_runs_what_a_file_says():
    forbidden = {"eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads", "pickle.Unpickler"}
    forbidden |= {"yaml.load", "yaml.unsafe_load", "marshal.load", "marshal.loads", "shelve.open", "joblib.load"}
    offences(f"{path}:{line}: {name}" for path in SOURCES for line, name, _ in calls(path) if name in forbidden)
    offences(
        f"{path}:{node.lineno}: from {node.module} import {alias.name}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if f"{node.module}.{alias.name}" in forbidden
    )


def test_every_load_is_a_safe_one():
    offences(
        f"{path}:{line}: {name} without weights_only=True"
        for path in SOURCES
        for line, name, keywords in calls(path)
        if name == "torch.load" and not is_constant(keywords.get("weights_only"), True)
    )
    offences(
        f"{path}:{line}: {name} with allow_pickle"
        for path in SOURCES
        for line, name, keywords in calls(path)
        if "allow_pickle" in keywords and not is_constant(keywords["allow_pickle"], False)
    )


def test_no_device_is_written_into_the_code():
    offences(f"{path}:{line}" for path in SOURCES for line, name, _ in calls(path) if name.endswith(".cuda"))


def test_settings_are_attributes():
    offences(
        f"{path}:{node.lineno}: {ast.unparse(node)}"
        for path, tree in TREES.items()
        if path.parts[0] in ("utils", "trainers", "Visualization", "benchmarks")
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("config", "self.config")
    )
