"""PyTorch is needed here; one thread is enough for networks of this size."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
