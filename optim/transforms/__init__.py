"""Transformations that are no optimizer's own, one idea per file: clip, add, scale, centre, remember."""
