"""Charts of the build report."""

from __future__ import annotations

import re

from cutline.engine.charts import LABEL, Bar, bars

MONOSPACE = 0.61  # width of a character in units of the font's size, 12 px: the widest of the usual fonts


def test_labels_fit_beside_their_bars_and_long_ones_keep_their_end() -> None:
    name = "encoder.blocks.10.depthwise.convolution/Conv_31"
    chart = bars([Bar(label=name, value=1.0, text="1"), Bar(label="a<b", value=0.5, text="0.5")], title="Costs")
    labels = re.findall(r'class="label">([^<]*)</text>', chart)
    assert all(len(label) * MONOSPACE * 12 <= LABEL - 8 for label in labels)
    assert name.endswith(labels[0].removeprefix("…"))
    assert len(labels[0]) > 30
    assert labels[1] == "a&lt;b"
    assert f"<title>{name}</title>" in chart
