"""Public names, their signatures and defaults, and the words for hyperparameters."""

import ast
import enum
import inspect
import re

import optim

from ..every.rows import check_all
from .parts import ROOT, bound_names

ENTRIES = list(optim.entries())
REGISTERED = {e.name for e in ENTRIES}


def words(text):
    return set(text.split())


CATALOGUE = [
    line for line in (ROOT / "tests/house/catalogue.txt").read_text().splitlines() if line and not line.startswith("#")
]
SIGNATURES = [line for line in CATALOGUE if re.match(r"[\w.]+\(", line)]
STATES = [line for line in CATALOGUE if re.match(r"\w+ \(", line)]
LISTED = {re.match(r"[\w.]+", line)[0] for line in CATALOGUE}

# The public names that are no factories and in no catalogue. State classes need no entry: their names end in State.
ROOMS = words(
    "assignment contrib experimental interop keras losses microbatching perturbations projections schedules "
    "second_order transforms tree tree_utils"
)
LIFT = words("Slot StateScalar elementwise leafwise treewise wrap")
RECORD = words("Example Range ScheduleFn entries example from_config get lookup register to_config")
TYPES = words("TransformInitFn TransformUpdateFn WeightDecaySchedule")
SECOND_NAMES = {
    "multi_transform": "partition",
    "MultiTransformState": "PartitionState",
    "safe_int32_increment": "safe_increment",
}
KERAS = words(
    "KerasFactory KerasOptimizer TFOptimizerState TFVariablesState deserialize get get_weights serialize set_weights"
)
TREE = words(
    "NamedTupleKey absent aligned as_array compute flatten global_norm is_function is_none leaves map match names "
    "paths spread stands_for_params structure sum_sq together total trainable widen"
)


def parameters(line):
    """The parameters that a line of the catalogue names: (name, default or None), `*` where keywords begin."""
    inner = line.partition("(")[2].removesuffix(")")
    parts = re.split(r", (?![^(]*\))", inner) if inner else []
    return [(name, default or None) for name, _, default in (part.partition("=") for part in parts)]


def resolve(name):
    found = optim
    for part in name.split("."):
        found = getattr(found, part)
    return found


def shown(default):
    """A default as the catalogue writes it: functions, dtypes and members of enumerations by their names."""
    if isinstance(default, optim.GradientTransformation):
        return f"{default.call.name}()"
    if isinstance(default, enum.Enum):
        return f"Precision.{default.name}" if type(default).__name__ == "Precision" else default.name
    return default.__name__ if callable(default) else repr(default)


def written(signature):
    """The parameters of a signature as `parameters` reads them from the catalogue."""
    found, starred = [], False
    for p in signature.parameters.values():
        if p.kind is p.KEYWORD_ONLY and not starred:
            found.append(("*", None))
        starred |= p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        found.append((f"{stars}{p.name}", None if p.default is p.empty else shown(p.default)))
    return found


def test_signatures_are_the_catalogues():
    """What is ours alone comes after, by keyword, and has a default."""

    def check(line):
        ours, listed = written(inspect.signature(resolve(line.partition("(")[0]))), parameters(line)
        assert ours[: len(listed)] == listed
        more = ours[len(listed) :]
        assert not more or ("*", None) in ours
        assert all(default for name, default in more if name != "*" and not name.startswith("**"))

    check_all(SIGNATURES, check, name=lambda line: line.partition("(")[0])


def test_catalogues_names_exist():
    check_all(sorted(LISTED), resolve)


def test_states_are_the_catalogues():
    def check(line):
        name, fields = line.split(" ", 1)
        assert repr(getattr(optim, name)._fields) == fields

    check_all(STATES, check)


def test_the_catalogue_was_read():
    assert len(SIGNATURES) > 220
    assert len(STATES) > 60
    assert parameters("f(a, b=(1, 2), *, c=g())") == [("a", None), ("b", "(1, 2)"), ("*", None), ("c", "g()")]


def public(module):
    return [n for n in bound_names(module) if not n.startswith("_")]


def test_every_public_name_has_a_kind():
    names = public("optim")
    assert len(names) == len(set(names))
    states = {n for n in names if n.endswith("State")}
    assert all(issubclass(getattr(optim, n), tuple) for n in states - LISTED)
    own = ROOMS | TYPES | LIFT | RECORD | SECOND_NAMES.keys()
    assert set(names) - REGISTERED - states - LISTED == own - states - LISTED
    for second, first in SECOND_NAMES.items():
        assert getattr(optim, second) is getattr(optim, first)


def test_every_public_name_of_keras_has_a_kind():
    factories = {e.name.removeprefix("keras.") for e in ENTRIES if e.name.startswith("keras.")}
    assert set(optim.keras.__all__) == factories | {f.lower() for f in factories} | KERAS
    assert set(optim.keras.__all__) == set(public("optim.keras"))
    for name in factories:
        assert getattr(optim.keras, name.lower()) is getattr(optim.keras, name)


def test_every_schedule_is_a_name_of_schedules():
    for entry in optim.entries("schedule"):
        assert getattr(optim.schedules, entry.name) is entry.factory


def test_every_public_name_of_losses_is_listed():
    top = {n for n in optim.losses.__all__ if n in LISTED}
    assert set(optim.losses.__all__) == top | {n.removeprefix("losses.") for n in LISTED if n.startswith("losses.")}
    assert set(optim.losses.__all__) == set(public("optim.losses"))
    assert all(getattr(optim, n) is getattr(optim.losses, n) for n in top)


def test_every_public_name_of_tree_is_known():
    listed = {n.removeprefix("tree.") for n in LISTED if n.startswith("tree.")}
    assert set(public("optim.tree")) == TREE | listed
    assert set(public("optim.tree_utils")) == {"NamedTupleKey"} | {f"tree_{n}" for n in listed}
    for name in listed:
        assert getattr(optim.tree_utils, f"tree_{name}") is getattr(optim.tree, name)


def test_registered_factories_are_exported():
    def check(entry):
        exported = resolve(entry.name)
        if not entry.name.startswith("keras."):
            assert exported is entry.factory
            return
        first = entry.examples[0]
        assert exported(*first.args, **first.kwargs) == entry(*first.args, **first.kwargs)
        assert exported.__name__ == entry.name.removeprefix("keras.")
        assert inspect.signature(exported) == entry.signature

    check_all(ENTRIES, check, name=lambda entry: entry.name)


CATALOGUES_WORDS = {name.lstrip("*") for line in SIGNATURES for name, _ in parameters(line)}


def test_hyperparameters_have_the_houses_names():
    """The catalogue's, or names that say what they mean where they are registered."""
    declared = {e.name: {name for name, r in e.ranges.items() if r.means} for e in ENTRIES}
    other = {e.name: set(e.signature.parameters) - CATALOGUES_WORDS - declared[e.name] for e in ENTRIES}
    assert {name: words for name, words in other.items() if words} == {}


def test_no_test_of_all_rows_names_a_factory():
    """An exception to a sweep is a reason in the registry, never a name in a test."""

    def named(path):
        compared = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Compare)]
        with_entry = [node for node in compared if any(ast.unparse(node).startswith(x) for x in ("row.", "entry."))]
        return [ast.unparse(n) for n in with_entry if REGISTERED & {x.value for x in constants(n)}]

    def constants(node):
        return [x for x in ast.walk(node) if isinstance(x, ast.Constant) and isinstance(x.value, str)]

    found = {str(path.relative_to(ROOT)): named(path) for path in (ROOT / "tests").rglob("*.py")}
    assert {path: names for path, names in found.items() if names} == {}
