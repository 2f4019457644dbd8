"""Adapters to other libraries, one module each. A library is imported when a function that needs it is called."""

from . import keras as keras, optax as optax, torch as torch
