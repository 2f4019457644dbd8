"""Optimizers of matrices, beside a package for PyTorch."""

import optim

from . import MATRICES, case

L = 0.1

# It decays the weights after the step, and factorises in float32.
case(
    "pytorch_optimizer.SOAP",
    optim.soap(L, weight_decay=0.0, precondition_frequency=2),
    1e-6,
    params=MATRICES,
    lr=L,
    weight_decay=0.0,
    precondition_frequency=2,
)
