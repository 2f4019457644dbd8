"""Public names, their signatures and defaults, and the words for hyperparameters."""

import inspect
import re

import pytest

import optim

from .parts import ROOT, TREES, bound_names

ENTRIES = list(optim.entries())
REGISTERED = {e.name for e in ENTRIES}
EVERY = pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)


def words(text):
    return set(text.split())


# The public names that are no factories. State classes need no entry: their names end in State.
ROOMS = {"keras", "schedules", "tree"}
TYPES = words(
    """GradientTransformation GradientTransformationExtraArgs MaskOrFn OptState Params ScalarOrSchedule Schedule
    TransformInitFn TransformUpdateFn Updates WeightDecaySchedule"""
)
LIFT = {"Scalar", "Slot", "elementwise", "leafwise", "treewise"}
RECORD = words("Example ScheduleFn entries example from_config get lookup register to_config")
FUNCTIONS = words("apply_updates global_norm init_empty_state safe_increment with_extra_args_support")
SECOND_NAMES = {"multi_transform": "partition", "MultiTransformState": "PartitionState"}
KERAS = words("KerasFactory KerasOptimizer deserialize get get_weights serialize set_weights")
TREE = words(
    """absent as_array cast cast_like flatten get get_all_with_path global_norm is_none leaves map match paths set
    structure sum_sq widen zeros_like"""
)

VOCABULARY = {
    "steps and rates": "learning_rate step_size step_size_fn flip_sign",
    "moments": "b1 b2 beta decay rho momentum nesterov eps eps_root eps_in_sqrt initial_scale initial_accumulator_value"
    " centered debias bias_correction bias_correction_mu bias_correction_nu amsgrad schedule_decay",
    "weight decay": "weight_decay weight_decay_mask",
    "bounds": "max_delta max_norm threshold clipping axis",
    "noise": "eta gamma key seed",
    "dtypes": "mu_dtype accumulator_dtype hyperparam_dtype",
    "schedules": "value init_value end_value peak_value alpha power exponent decay_rate decay_steps warmup_steps"
    " transition_begin transition_steps staircase schedules boundaries boundaries_and_scales",
    "combining": "args f inner inner_factory mask mask_compatible_extra_args param_labels static_args transforms",
}
KERAS_VOCABULARY = words(
    "lr momentum decay nesterov rho epsilon beta_1 beta_2 amsgrad schedule_decay clipnorm clipvalue"
)

CATALOGUE = [
    line for line in (ROOT / "tests/house/catalogue.txt").read_text().splitlines() if line and not line.startswith("#")
]
SIGNATURES = [line for line in CATALOGUE if re.match(r"[\w.]+\(", line)]
STATES = [line for line in CATALOGUE if line not in SIGNATURES]


def resolve(name):
    found = optim
    for part in name.split("."):
        found = getattr(found, part)
    return found


def written(signature):
    """A signature as the catalogue writes it: names and defaults, no types."""
    shown, starred = [], False
    for p in signature.parameters.values():
        if p.kind is p.KEYWORD_ONLY and not starred:
            shown.append("*")
        starred |= p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        shown.append(f"{stars}{p.name}" + ("" if p.default is p.empty else f"={p.default!r}"))
    return f"({', '.join(shown)})"


@pytest.mark.parametrize("line", SIGNATURES, ids=lambda line: line.partition("(")[0])
def test_signature_is_the_catalogues(line):
    name, paren, rest = line.partition("(")
    assert written(inspect.signature(resolve(name))) == paren + rest


@pytest.mark.parametrize("line", STATES, ids=lambda line: line.split()[0])
def test_state_is_the_catalogues(line):
    name, fields = line.split(" ", 1)
    assert repr(getattr(optim, name)._fields) == fields


def test_the_catalogue_was_read():
    assert len(SIGNATURES) > 60
    assert len(STATES) > 15


def public(module):
    return [n for n in bound_names(module) if not n.startswith("_")]


def test_every_public_name_has_a_kind():
    names = public("optim")
    assert len(names) == len(set(names))
    states = {n for n in names if n.endswith("State")} - TYPES
    assert all(issubclass(getattr(optim, n), tuple) for n in states)
    known = ROOMS | TYPES | LIFT | RECORD | FUNCTIONS | SECOND_NAMES.keys()
    assert set(names) - REGISTERED - states == known - states
    for second, first in SECOND_NAMES.items():
        assert getattr(optim, second) is getattr(optim, first)


def test_every_public_name_of_keras_has_a_kind():
    factories = {e.name.removeprefix("keras.") for e in ENTRIES if e.name.startswith("keras.")}
    assert set(optim.keras.__all__) == factories | {f.lower() for f in factories} | KERAS
    assert set(optim.keras.__all__) == set(public("optim.keras"))
    for name in factories:
        assert getattr(optim.keras, name.lower()) is getattr(optim.keras, name)


def test_every_public_name_of_schedules_is_registered():
    schedules = {e.name for e in optim.entries("schedule")}
    assert set(optim.schedules.__all__) == schedules == set(public("optim.schedules"))
    for name in schedules:
        assert getattr(optim.schedules, name) is getattr(optim, name)


def test_every_public_name_of_tree_is_known():
    defined = {
        node.name for node in TREES["optim.tree"].body if hasattr(node, "name") and not node.name.startswith("_")
    }
    assert defined == TREE


@EVERY
def test_registered_factory_is_exported(entry):
    exported = resolve(entry.name)
    if not entry.name.startswith("keras."):
        assert exported is entry.factory
        return
    assert exported() == entry()
    assert exported.__name__ == entry.name.removeprefix("keras.")
    assert inspect.signature(exported) == entry.signature


@EVERY
def test_hyperparameters_have_the_houses_names(entry):
    known = KERAS_VOCABULARY if entry.name.startswith("keras.") else words(" ".join(VOCABULARY.values()))
    assert set(entry.signature.parameters) <= known


def test_no_word_is_idle():
    used = {p for e in ENTRIES for p in e.signature.parameters}
    assert words(" ".join(VOCABULARY.values())) | KERAS_VOCABULARY == used
