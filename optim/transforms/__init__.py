"""Transformations shared by many optimizers, one idea per file: clip, add, scale, centralize, accumulate."""
