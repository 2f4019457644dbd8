"""Whole training steps, and evaluation in micro-batches."""
