"""Whole training steps, and functions evaluated on parts of a batch."""
