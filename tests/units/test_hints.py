"""What to type instead: names of other libraries, near matches, hyperparameters that are not in a state."""

import pickle
import re
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import jax.numpy as jnp
import pytest

import optim
from optim import hints

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
P = {"w": jnp.ones(3), "b": jnp.ones(2)}
ADAM = optim.adam(0.1)
STATE = ADAM.init(P)

TYPED = {
    "optim.AdamW": "optim.adamw?",
    "optim.Adam": "optim.adam?",
    "optim.SGD": "optim.sgd?",
    "optim.RMSprop": "optim.rmsprop?",
    "optim.LBFGS": "optim.lbfgs?",
    "optim.AdamOptimizer": "optim.adam?",
    "optim.GradientDescentOptimizer": "optim.sgd?",
    "optim.clip_grad_norm_": "optim.clip_by_global_norm? It is a member of a chain, before the optimizer.",
    "optim.lr_scheduler": "optim.schedules? A schedule is a function of the count, given as learning_rate.",
    "optim.StepLR": "optim.exponential_decay?",
    "optim.CosineAnnealingLR": "optim.cosine_decay_schedule?",
    "optim.ExponentialDecay": "optim.exponential_decay?",
    "optim.CosineDecay": "optim.cosine_decay_schedule?",
    "optim.adamm": "'adam' or ",
    "optim.optimizers.Adam": "optim.adam?",
    "optim.schedules.ExponentialDecay": "optim.schedules.exponential_decay?",
    "optim.schedules.exponential_deca": "'exponential_decay' or ",
    "optim.transforms.clip_by_globalnorm": "optim.transforms.clip_by_global_norm?",
    "optim.transforms.Scale": "optim.scale?",
    "optim.contrib.Schedule_Free": "optim.contrib.schedule_free?",
    "optim.dice_loss": "optim.losses.dice_loss?",
    "optim.CrossEntropyLoss": "optim.softmax_cross_entropy_with_integer_labels?",
    "optim.losses.MSELoss": "optim.squared_error?",
    "optim.tree.zeros_lik": "'zeros_like' or ",
    "optim.keras.Adamm": "'adam' or ",
}


def test_a_name_of_another_library_is_an_attribute_error_with_a_hint():
    for typed, hint in TYPED.items():
        module, _, name = typed.rpartition(".")
        with pytest.raises(AttributeError) as raised:
            eval(typed)
        assert str(raised.value).startswith(f"module {module!r} has no attribute {name!r}; did you mean {hint}")
        assert getattr(raised.value, "name", None) is None  # Python adds no suggestion of its own
    assert all(hasattr(optim, name) for name in {*hints.ELSEWHERE.values(), *hints.USES})
    assert not any(hasattr(optim, name) for name in hints.ELSEWHERE)
    assert set(hints.USES) <= set(hints.ELSEWHERE.values())


def test_what_python_asks_of_modules_still_works():
    assert not hasattr(optim, "nothing_like_this")
    assert not hasattr(optim, "__wrapped__")
    assert pickle.loads(pickle.dumps(optim.tree.add)) is optim.tree.add
    with pytest.raises(ImportError, match="cannot import name 'Adam'"):
        from optim import Adam  # noqa: F401
    from optim import adam, wrappers

    assert adam is optim.adam
    assert isinstance(wrappers, types.ModuleType)


def test_what_is_listed_is_public():
    names = set(dir(optim))
    assert names == {*optim.__all__, "__version__"}
    namespaces = [x for n in names if isinstance(x := getattr(optim, n), types.ModuleType)]
    assert optim.schedules in namespaces
    for module in namespaces:
        if module is not optim.interop:  # its adapters are imported one by one
            assert dir(module) == sorted(module.__all__)
            assert not any(n.startswith("_") for n in dir(module))
            modules = {n for n in dir(module) if isinstance(getattr(module, n), types.ModuleType)}
            assert modules == ({"aggregating", "microbatching"} if module is optim.experimental else set())


def test_the_version_is_the_projects():
    assert optim.__version__ == hints.version("optim") == PROJECT["version"]


def test_the_version_of_a_copy_that_is_not_installed(tmp_path):
    (tmp_path / "copied").mkdir()
    (tmp_path / "copied/__init__.py").write_text("")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; import copied; from optim import hints; "
    code += "print(hints.version('copied')); import pathlib; "
    code += f"pathlib.Path({str(tmp_path / 'pyproject.toml')!r}).unlink(); print(hints.version('copied'))"
    root = Path(__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert out.split() == ["1.2.3", "0+unknown"]


HYPERPARAMETERS = {
    "learning_rate": "inject_hyperparams(adam)(learning_rate=...) keeps it in the state; optim.replace(tx, "
    "'scale_by_learning_rate', learning_rate=...) makes the transformation anew, and its old state fits",
    "lr": "inject_hyperparams(adam)(learning_rate=...) keeps it in the state",
    "b1": "inject_hyperparams(adam)(b1=...) keeps it in the state; optim.replace(tx, 'adam', b1=...)",
    "weight_decay": "inject_hyperparams(adamw)(weight_decay=...)",
    "moo": "tree.set: nothing named 'moo' in the state",
}


def test_a_hyperparameter_that_is_not_in_the_state():
    for name, hint in HYPERPARAMETERS.items():
        with pytest.raises(KeyError) as raised:
            optim.tree.set(STATE, **{name: 1e-4})
        assert hint in str(raised.value)
    anew = optim.replace(ADAM, "scale_by_learning_rate", learning_rate=1e-4)
    anew.update(P, STATE, P)
    injected = optim.inject_hyperparams(optim.adam)(learning_rate=0.1).init(P)
    with pytest.raises(KeyError, match="did you mean 'learning_rate'"):
        optim.tree.set(injected, lr=1e-4)


def test_names_that_differ_in_a_dict():
    saved = optim.state_dict(ADAM, STATE)
    hint = "; strict=False loads what fits and leaves the rest as in state"
    without = {k: v for k, v in saved.items() if k != "scale_by_adam/mu/b"}
    for d in (without, {**saved, "x/y": jnp.ones(())}):
        with pytest.raises(ValueError, match=re.escape(hint)):
            optim.load_state_dict(ADAM, STATE, d)
        with pytest.warns(UserWarning, match="left as in state") as warned:
            optim.load_state_dict(ADAM, STATE, d, strict=False)
        assert warned[0].filename == __file__
    shapes = optim.state_dict(ADAM, ADAM.init({**P, "w": jnp.ones(4)}))
    for d in (shapes, {"version": saved["version"]}):
        with pytest.raises(ValueError, match="load_state_dict: ") as raised:
            optim.load_state_dict(ADAM, STATE, d)
        assert hint not in str(raised.value)
