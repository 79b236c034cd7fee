"""Synthetic product video with exact ground truth."""
