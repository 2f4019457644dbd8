"""Optimizers, one idea per file: a `scale_by_` primitive that is the paper's rule, and the names it goes by."""
