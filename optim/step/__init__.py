"""Whole training steps, compiled."""
