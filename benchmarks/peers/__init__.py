"""Cutline and other programs on the same frames, in turns: `python -m cutline.benchmarks.peers`."""
