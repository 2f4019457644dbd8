"""Optimizers, one idea per file: the paper's rule as a `scale_by_` primitive, and the optimizers made from it."""
