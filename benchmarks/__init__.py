"""This library beside Optax, Keras and PyTorch, in one run: `python -m benchmarks --help`."""
