"""Where frames go: files, screens, streams, events."""

from cutline.runtime.sinks.base import Sink, SinkOptions, SinkTraits, StreamInfo
from cutline.runtime.sinks.opening import describe_sink, open_sink, refuse_input_as_output

__all__ = [
    "Sink",
    "SinkOptions",
    "SinkTraits",
    "StreamInfo",
    "describe_sink",
    "open_sink",
    "refuse_input_as_output",
]
