"""Choosing frames, collecting ranges, finding sensitive layers, placing Q/DQ."""
