"""One file for each peer. What a file must hold is in `catalogue.py`; it is run by `worker.py`, nothing imports it."""
