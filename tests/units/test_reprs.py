"""What signatures and reprs show: public names and values, no addresses."""

import copy
import inspect
import pickle
import re

import optim
from optim.optimizers.adafactor import decay_rate_pow

LEAK = re.compile(r" at 0x|<function|<lambda>|(?<!\w)_[A-Za-z]\w*")


def inner(tx):
    yield tx
    if isinstance(tx, optim.GradientTransformation):
        for member in (*tx.members, *([tx.body] if tx.body else [])):
            yield from inner(member)


def test_signatures_and_reprs_are_readable():
    for entry in optim.entries():
        assert not LEAK.search(f"{entry.name}{entry.signature}{inspect.signature(entry.factory)}")
        for example in () if entry.kind == "function" else entry.examples:
            for tx in inner(entry(*example.args, **example.kwargs)):
                assert not LEAK.search(repr(tx)), f"{entry.name}: {tx!r}"


def test_a_signature_names_its_types():
    text = str(inspect.signature(optim.adopt))
    assert "learning_rate: optim.types.ScalarOrSchedule, b1: optim.types.Scalar = 0.9" in text
    assert text.count("fourth_root") == 1
    assert "ns_coeffs: Any = (3.4445, -4.775, 2.0315), ns_steps: int = 5" in str(inspect.signature(optim.muon))


def _halve(g):
    return g / 2


def test_what_is_made_by_hand_names_its_functions():
    assert repr(optim.elementwise(_halve)) == "elementwise(halve)"
    assert repr(optim.fromage(0.1).body).endswith(", elementwise(fromage))")
    assert repr(optim.sophia(0.1).body).startswith("chain(GradientTransformationExtraArgs(")

    def init(params):
        return params

    pair = optim.GradientTransformation(init, lambda updates, state, params=None: (updates, state))
    name = "test_what_is_made_by_hand_names_its_functions"
    assert repr(pair) == f"GradientTransformation({name}.init, {name})"


def test_a_default_function_is_copied_and_pickled_by_name():
    for f in (decay_rate_pow, optim.fourth_root, optim.skip_not_finite):
        assert copy.deepcopy(f) is f
        assert pickle.loads(pickle.dumps(f)) is f
        assert repr(f) == f.__name__
