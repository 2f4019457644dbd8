"""Optimizers that Optax does not have, beside packages for PyTorch, Keras and `torch.optim`."""

import optim

from . import case

L = 0.1
rate = optim.scale_by_learning_rate

# It adds eps to the uncorrected root, and never sees a schedule.
case("pytorch_optimizer.AdamC", optim.adamc(L, eps=0.0, weight_decay=0.1), 1e-6, lr=L, eps=0.0, weight_decay=0.1)
case("pytorch_optimizer.Grams", optim.grams(optim.adam(L, eps=1e-6)), 1e-6, lr=L)
