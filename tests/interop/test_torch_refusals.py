"""Errors of `state_from_torch` name missing, unexpected, misshapen and different values."""

import jax
import numpy as np
import pytest

import optim
from optim.interop.torch import state_from_torch

from .pytorch import FLAT, decayed, rms, step_decay, torch, trained


def without(mapping, *names):
    return {k: v for k, v in mapping.items() if k not in names}


MAPPINGS = {
    "mapping has no entry for params' leaf 'out/bias'": without(FLAT, "out/bias"),
    "mapping has 'out/bais', params has no such leaf; did you mean 'out/bias'": {
        **without(FLAT, "out/bias"),
        "out/bais": 3,
    },
    "mapping has '2.bais' for 'out/bias', PyTorch has no such parameter; did you mean '2.bias'": {
        **FLAT,
        "out/bias": "2.bais",
    },
    "mapping has 7 for 'out/bias', PyTorch has no such parameter": {**FLAT, "out/bias": 7},
    "mapping has '0.bias' for 'hidden/bias' and for 'out/bias'": {**FLAT, "out/bias": "0.bias"},
    "mapping must be a dict or a function of the path, got 3": 3,
    "mapping has no entry for params' leaf 'out/kernel'": lambda path: None if path == "out/kernel" else FLAT[path],
    "mapping has ['2.bias'] for 'out/bias', expected a name, an index, or (either, function)": {
        **FLAT,
        "out/bias": ["2.bias"],
    },
    "mapping has ('2.bias', 3) for 'out/bias', expected a name, an index": {**FLAT, "out/bias": ("2.bias", 3)},
    "0.weight has shape (4, 3), state.mu['hidden']['kernel'] has (3, 4): give ('0.weight', np.transpose)": {
        **FLAT,
        "hidden/kernel": "0.weight",
    },
    "0.weight has shape (12,), state.mu['hidden']['kernel'] has (3, 4)": {
        **FLAT,
        "hidden/kernel": ("0.weight", np.ravel),
    },
}


@pytest.mark.parametrize("text", MAPPINGS)
def test_mappings_that_do_not_fit(text):
    saved, params = trained("adam")
    with pytest.raises((ValueError, TypeError)) as raised:
        state_from_torch(saved, optim.adam(0.01), params, MAPPINGS[text])
    assert str(raised.value).startswith(f"state_from_torch: {text}")


def in_group(**changes):
    return lambda saved: saved["param_groups"][0].update(changes)


def in_state(index, **changes):
    return lambda saved: saved["state"][index].update(changes)


REFUSED = [
    # missing and unexpected values
    (
        "sgd_momentum",
        optim.adam(0.1),
        None,
        "needs exp_avg or grad_avg of 0.bias, for which PyTorch has momentum_buffer",
    ),
    (
        "sgd",
        optim.sgd(0.1, momentum=0.9),
        None,
        "needs momentum_buffer of 0.bias, for which PyTorch has no state at all",
    ),
    (
        "adam",
        optim.adam(0.01),
        lambda saved: saved["state"].pop(2),
        "needs exp_avg or grad_avg of 2.weight, for which PyTorch has no state",
    ),
    (
        "adam_amsgrad",
        optim.adam(0.1, 0.5, 0.6, 1e-3),
        None,
        "PyTorch has max_exp_avg_sq of 0.bias, for which tx has no slot",
    ),
    (
        "rmsprop_momentum",
        rms(optim.scale_by_rms),
        None,
        "PyTorch has momentum_buffer of 0.bias, for which tx has no slot",
    ),
    ("adam", optim.chain(optim.adam(0.01), optim.ema(0.9)), None, "ema stores ema, PyTorch does not"),
    (
        "adam",
        optim.chain(optim.scale_by_adam(), optim.adam(0.01)),
        None,
        "two members of tx would take exp_avg of 0.bias",
    ),
    ("adam", optim.flatten(optim.adam(0.01)), None, "changes the leaves that its members see"),
    ("adam", optim.adam(0.01), lambda saved: saved["state"].update({9: {"exp_avg": 1.0}}), "mapping has no path for 9"),
    (
        "adam",
        optim.adam(0.01),
        lambda saved: saved.pop("state"),
        "torch_state_dict must have 'state', as optimizer.state",
    ),
    (
        "adam",
        optim.adam(0.01),
        lambda saved: saved["param_groups"][0].pop("param_names"),
        "give the index of the parameter, 0 to 3 in the order",
    ),
    # counts
    ("sgd", optim.sgd(step_decay(0.1)), None, "counts updates, and PyTorch has no step here: give step"),
    ("adam", optim.adam(0.01), in_state(2, step=torch.tensor(5.0)), "PyTorch's step of 0.bias is 2, of 2.weight 5"),
    # different hyperparameters
    ("adam", optim.adam(0.02), None, "the learning rate of tx after 2 updates is 0.02, PyTorch's is 0.01 for 0.bias"),
    (
        "adam",
        optim.adam(step_decay(0.01)),
        None,
        "the learning rate of tx after 2 updates is 0.0081, PyTorch's is 0.01",
    ),
    ("adam", optim.adam(0.01, b1=0.8), None, "scale_by_adam has b1=0.8, PyTorch betas[0]=0.9 for 0.bias"),
    ("adam", optim.adam(0.01, b2=0.99), None, "scale_by_adam has b2=0.99, PyTorch betas[1]=0.999"),
    ("adam", optim.adam(0.01, eps=1e-7), None, "scale_by_adam has eps=1e-07, PyTorch eps=1e-08"),
    ("adam", optim.adam(0.01, eps_root=1e-7), None, "scale_by_adam has eps_root=1e-07, PyTorch eps_root=0.0"),
    ("adam", optim.nadam(0.01), None, "scale_by_adam has nesterov=True, PyTorch nesterov=False"),
    ("adam", optim.keras.Adam(0.01, epsilon=1e-8), None, "scale_by_adam_eps_hat adds its eps before the correction"),
    ("adam_amsgrad", optim.amsgrad(0.1, 0.5, 0.6, 1e-3), None, "scale_by_amsgrad keeps the largest corrected moment"),
    ("adam", optim.adam(0.01), in_group(maximize=True), "PyTorch has maximize=True"),
    ("adamw", optim.adamw(0.01), None, "tx adds 0.0001 of the weights, PyTorch has weight_decay=0.01"),
    ("adamw", optim.adam(0.01), None, "tx adds 0 of the weights, PyTorch has weight_decay=0.01"),
    ("adamw", decayed(optim.adam(0.01), 0.01), None, "PyTorch adds weight decay after scale_by_adam"),
    ("adam_coupled", optim.adamw(0.01, weight_decay=0.1), None, "PyTorch adds weight decay before scale_by_adam"),
    ("sgd_momentum", optim.sgd(0.1, momentum=0.8), None, "trace has decay=0.8, PyTorch momentum=0.9"),
    (
        "sgd_momentum",
        optim.sgd(0.1, momentum=0.9, nesterov=True),
        None,
        "trace has nesterov=True, PyTorch nesterov=False",
    ),
    (
        "sgd_momentum",
        optim.sgd(0.1, momentum=0.9),
        in_group(dampening=0.5),
        "PyTorch has dampening=0.5, trace has none",
    ),
    ("rmsprop", optim.rmsprop(0.01, 0.99), None, "scale_by_rms has eps_in_sqrt=True, PyTorch eps_in_sqrt=False"),
    ("rmsprop", optim.rmsprop(0.01, 0.9, eps_in_sqrt=False), None, "scale_by_rms has decay=0.9, PyTorch alpha=0.99"),
    ("adagrad", optim.adagrad(0.1, 0.0, 1e-10), None, "scale_by_rss has its eps inside the root, PyTorch outside"),
]


@pytest.mark.parametrize(("name", "tx", "change", "text"), REFUSED, ids=[text for *_, text in REFUSED])
def test_refuses(name, tx, change, text):
    saved, params = trained(name)
    if change is not None:
        change(saved)
    with pytest.raises((ValueError, TypeError)) as raised:
        state_from_torch(saved, tx, params, FLAT)
    assert str(raised.value).startswith("state_from_torch: ")
    assert text in str(raised.value)
    if "check_hyperparams" in str(raised.value):
        state = state_from_torch(saved, tx, params, FLAT, check_hyperparams=False)
        assert jax.tree.structure(state) == jax.tree.structure(tx.init(params))


def test_momentum_after_a_scheduled_rate_is_refused():
    saved, params = trained("rmsprop_momentum")
    tx = optim.rmsprop(step_decay(0.01), 0.99, eps_in_sqrt=False, momentum=0.9)
    with pytest.raises(ValueError, match="sums its momentum after a scheduled learning rate, PyTorch before"):
        state_from_torch(saved, tx, params, FLAT, check_hyperparams=False)


def test_the_step_may_be_given_but_must_agree():
    saved, params = trained("sgd")
    tx = optim.sgd(optim.piecewise_constant_schedule(0.1, {100: 0.5}))
    assert state_from_torch(saved, tx, params, FLAT, step=7)[1].count == 7
    saved, params = trained("adam")
    with pytest.raises(ValueError, match=r"step is 7, PyTorch's of 0\.bias is 2"):
        state_from_torch(saved, optim.adam(0.01), params, FLAT, step=7)
