"""The frames of a build: for calibration, for the INT8 search, and held out for the proof."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from cutline.calibration.calibrate import calibrate
from cutline.calibration.feeds import Feeds
from cutline.calibration.frames import choose_frames
from cutline.calibration.runner import Feed
from cutline.calibration.table import CalibrationTable, decode_table, demand_same_model, load_table
from cutline.engine.cache import Cache
from cutline.engine.evidence import Evidence, HeldOut
from cutline.engine.footage_cache import KeptFootage, footage_digest, pack_feeds, unpack_feeds
from cutline.engine.patterns import pattern_sequences
from cutline.engine.progress import Progress, counting
from cutline.engine.proof_set import MAX_FRAMES, ProofSet, quantised, read_proof_set
from cutline.engine.subject import Subject
from cutline.runtime.contract import ModelContract, contract_to_json

__all__ = ["Footage", "gather"]

CALIBRATION, HELD_OUT, RUN = 128, 32, 6  # sequences, sequences, frames in each sequence of a recurrent network
SEARCH = 16  # frames of the calibration set that the INT8 search is run on
MEMORY = 1 << 30  # bytes of held-out tensors kept; fewer frames are held out for large networks


@dataclass(frozen=True, slots=True, kw_only=True)
class Footage:
    """`search` is empty without footage. `table_data` is the calibration table as it travels in the bundle."""

    held_out: HeldOut
    search: Sequence[Sequence[Feed]] = ()
    table: CalibrationTable | None = None
    table_data: bytes | None = None
    carried: ProofSet | None = None  # proof frames that came with a bundle

    def record(self) -> dict[str, Any] | None:
        """What the manifest says of the calibration."""
        if self.table is None:
            return None
        sources = sorted({frame.source for frame in self.table.frames})
        return {
            "frames": len(self.table.frames),
            "sources": sources[:20],
            "table_key": self.table.key,
            "versions": dict(self.table.versions),
        }

    def proof_set(self, evidence: Evidence) -> ProofSet:
        """Frames for the bundle: those that it came with, or a part of the held-out ones."""
        if self.carried is not None and self.held_out.sequences is self.carried.sequences:
            return self.carried
        sequences = quantised(self.held_out.sequences, evidence.contract)
        wanted = evidence.original_on(sequences)
        return ProofSet(sequences=sequences, wanted=wanted, source=self.held_out.source, budget=evidence.gate.alpha_mad)


def gather(subject: Subject, calib: Sequence[str], table: Path | None, cache: Cache, progress: Progress) -> Footage:
    """Collect the frames, and the ranges from them where no table says them already.

    Raises:
        CutlineError: the footage cannot be read, is too little or all alike, or the table is of another model.
    """
    known = _known_table(subject, table)
    if calib:
        return _from_clips(subject, calib, known, cache, progress)
    carried = read_proof_set(subject.proof, subject.contract)
    if carried is not None:
        held_out = HeldOut(sequences=carried.sequences, source=carried.source)
    else:
        progress.say("no footage was given: graphs are proven on test pictures; --calib proves them on the site's own")
        held_out = HeldOut(sequences=pattern_sequences(subject.contract), source="patterns")
    return Footage(
        held_out=held_out,
        search=held_out.sequences,
        table=known,
        table_data=_encoded(known),
        carried=carried,
    )


def _known_table(subject: Subject, path: Path | None) -> CalibrationTable | None:
    if path is not None:
        return load_table(path, subject.model)
    if subject.table is None:
        return None
    found = decode_table(subject.table, name="calibration.json of the bundle")
    demand_same_model(found, subject.model)
    return found


def _encoded(table: CalibrationTable | None) -> bytes | None:
    return None if table is None else msgspec.json.encode(table)


def _from_clips(
    subject: Subject, calib: Sequence[str], known: CalibrationTable | None, cache: Cache, progress: Progress
) -> Footage:
    progress.step("footage", None)
    content = footage_digest(calib)
    key = cache.key("footage", subject.source, contract_to_json(subject.contract), content, _encoded(known) or b"")
    stored = cache.get(key) if content is not None else None
    if stored is not None:
        kept = msgspec.msgpack.decode(stored, type=KeptFootage)
    else:
        kept = _look_through(subject, calib, known, cache, progress)
        if content is not None:
            cache.put(key, msgspec.msgpack.encode(kept))
    for line in kept.lines:
        progress.say(line)
    progress.step("footage", 1.0)
    return Footage(
        held_out=HeldOut(sequences=unpack_feeds(kept.held_out), source="footage"),
        search=unpack_feeds(kept.search),
        table=decode_table(kept.table, name="calibration table"),
        table_data=kept.table,
    )


def _look_through(
    subject: Subject, calib: Sequence[str], known: CalibrationTable | None, cache: Cache, progress: Progress
) -> KeptFootage:
    contract = subject.contract
    length = RUN if contract.states else 1
    with ExitStack() as stack:
        frames = stack.enter_context(
            choose_frames(
                calib,
                count=max(16, CALIBRATION // length),
                held_out=max(1, min(HELD_OUT, MEMORY // _feed_bytes(contract)) // length),
                run_length=length,
                progress=counting(progress, "footage"),
            )
        )
        unit = "sequences" if length > 1 else "frames"
        count = f"{frames.count('calibration')} {unit} for calibration, {frames.count('held-out')} held out"
        judged, seen = Feeds(frames, "held-out", contract), Feeds(frames, "calibration", contract)
        held_out = _read(judged, frames.count("held-out"), None)
        search = _read(seen, frames.count("calibration"), max(1, SEARCH // length))
        table = known or calibrate(
            subject.model,
            contract,
            frames,
            path=cache.folder / f"{cache.key('table', subject.source, msgspec.json.encode(seen.records()))}.json",
            progress=counting(progress, "calibration"),
        )
        progress.step("calibration", 1.0)
        return KeptFootage(
            held_out=pack_feeds(held_out),
            search=pack_feeds(search),
            table=msgspec.json.encode(table),
            lines=(
                *frames.notices,
                *_learnt(judged, seen),
                f"footage: {count} for the proof, at most {MAX_FRAMES} frames of which travel in the bundle",
            ),
        )


def _learnt(*parts: Feeds) -> list[str]:
    """Say which empty scenes are not pictures of the empty scene."""
    return [
        f"{name}: its empty scene is the median of its own frames, with whatever stood still in it; "
        f"put a picture of it beside the clip as {Path(name).stem}-plate.png"
        for name in dict.fromkeys(name for feeds in parts for name in feeds.plates_learnt)
    ]


def _read(feeds: Feeds, total: int, most: int | None) -> list[list[Feed]]:
    """Keep a part's sequences, or `most` of them spread evenly, in memory."""
    wanted = set(range(total)) if most is None else {int((i + 0.5) * total / most) for i in range(most)}
    kept = []
    for number, sequence in enumerate(islice(feeds, total)):
        run: list[Feed] = [
            dict(feed) for feed in sequence
        ]  # all are read: the next sequence is decoded behind this one
        if number in wanted:
            kept.append(run)
    return kept


def _feed_bytes(contract: ModelContract) -> int:
    images = [contract.frame] + ([contract.plate] if contract.plate else [])
    return sum(3 * i.width * i.height * (1 if i.dtype in ("uint8", "int8") else 4) for i in images)
