"""The repository as the tests of the house read it: files, syntax trees, docstrings."""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "optim"
MODULES = {
    ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in PACKAGE.rglob("*.py")
}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def room(module: str) -> str:
    """The room of a module: what stands directly under `optim`; the roof is `optim` itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "optim"


def imports(module: str) -> Iterator[str]:
    """Every module that `module` imports, inside functions too, by its full name; not what type checkers alone read."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    unread = {id(node) for node in imports_for_type_checkers(module)}
    for node in ast.walk(TREES[module]):
        if id(node) in unread:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            inner = [f"{base}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else base for name in inner)


def imports_for_type_checkers(module: str) -> Iterator[ast.ImportFrom]:
    """The imports that never run, in a block `if TYPE_CHECKING`."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from (inner for inner in node.body if isinstance(inner, ast.ImportFrom))


def bound_names(module: str) -> list[str]:
    """The names that a module binds at its top level, its submodules' own aside."""
    names: list[str] = []
    for node in TREES[module].body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
    return names


def docstrings() -> Iterator[tuple[str, str]]:
    """(where, text) of every docstring in the package: modules, classes, functions, and strings under a name."""
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            for child in getattr(node, "body", []) if isinstance(getattr(node, "body", []), list) else []:
                if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                    text = child.value.value
                    if isinstance(text, str):
                        yield f"{module}:{child.lineno}", dedent(text)


def dedent(text: str) -> str:
    """A docstring without the indentation of its place, as `inspect.cleandoc` gives it."""
    first, _, rest = text.partition("\n")
    return f"{first.strip()}\n{textwrap.dedent(rest)}".strip()


def paragraphs(text: str) -> list[str]:
    return [p.strip("\n") for p in re.split(r"\n\s*\n", text)]


def fenced(page: str, language: str) -> list[str]:
    """The fenced code blocks of one language in a Markdown page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)


def prose(page: str) -> str:
    """A Markdown page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.M | re.S)
