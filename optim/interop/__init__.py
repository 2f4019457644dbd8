"""Adapters to other libraries, one module each; a library is imported at the first call that needs it."""

from . import keras as keras, optax as optax, torch as torch
