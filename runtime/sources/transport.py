"""Whether an MPEG transport stream ends before its end, which FFmpeg tells of its picture only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

__all__ = ["ends_torn"]

TAIL: Final = 1 << 20  # bytes looked at: the last seconds of a broadcast, and of its sound in any case
PACKET: Final = 188  # bytes
STEPS: Final = (188, 192, 204)  # from packet to packet: plain, with arrival times (Blu-ray), with parity (broadcast)
SYNC: Final = 0x47
SOUND_AND_PICTURE: Final = frozenset({0xBD, *range(0xC0, 0xF0), 0xFD})  # stream_id


def ends_torn(path: Path) -> bool:
    """Whether the file ends within a packet, or within a piece of sound or picture whose length was promised.

    False wherever that is not certain: other bytes may follow the last packet, and a picture's length is seldom
    promised.
    Source: ISO/IEC 13818-1, 2.4.3.2 (packet), 2.4.3.4 (adaptation field), 2.4.3.6 (PES packet).
    """
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        tail = file.read()
    starts = _packets(tail)
    if not starts:
        return False
    if len(tail) - starts[-1] < PACKET:
        return True
    missing: dict[int, int] = {}  # bytes, by PID, of the last PES packet that began
    for start in starts:
        packet = tail[start : start + PACKET]
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        payload = _payload(packet)
        if packet[1] & 0x40:  # payload_unit_start_indicator
            missing.pop(pid, None)
            if payload[:3] == b"\0\0\1" and len(payload) >= 6 and payload[3] in SOUND_AND_PICTURE:
                promised = int.from_bytes(payload[4:6], "big")
                if promised:
                    missing[pid] = promised + 6 - len(payload)
        elif pid in missing:
            missing[pid] -= len(payload)
    return any(nbytes > 0 for nbytes in missing.values())


def _packets(tail: bytes) -> range:
    """Where packets begin, the last one perhaps torn; empty unless they follow each other up to the end."""
    for step in STEPS:
        for first in range(step):
            begins = tail[first::step]
            if len(begins) > 1 and begins.count(SYNC) == len(begins):
                return range(first, len(tail), step)
    return range(0)


def _payload(packet: bytes) -> bytes:
    control = packet[3] >> 4 & 3
    if not control & 1:
        return b""
    return packet[5 + packet[4] :] if control & 2 else packet[4:]
