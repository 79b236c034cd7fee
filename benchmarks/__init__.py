"""The same work done by Cutline and by others, side by side."""
