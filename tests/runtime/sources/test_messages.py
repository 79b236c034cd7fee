"""The channel between a source process and its parent."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from cutline.runtime.errors import BadInputError, NoInputError
from cutline.runtime.slots import PlaneLayout, SlotLayout
from cutline.runtime.sources.messages import (
    Channel,
    Failed,
    Fill,
    FromChild,
    Offer,
    Over,
    Say,
    Start,
    ToChild,
    child_end,
    parent_end,
)
from cutline.runtime.sources.records import DecodeStamps

PLANE = PlaneLayout(0, 4, 4, 64)
LAYOUT = SlotLayout(1, 4096, PLANE, PLANE, PLANE)


@pytest.fixture
def ends() -> Iterator[tuple[Channel[ToChild, FromChild], Channel[FromChild, ToChild]]]:
    left, right = socket.socketpair()
    parent, child = parent_end(left), child_end(right)
    yield parent, child
    parent.close()
    child.close()


Ends = tuple[Channel[ToChild, FromChild], Channel[FromChild, ToChild]]


def test_messages_arrive_whole_and_in_order_however_many_at_once(ends: Ends) -> None:
    parent, child = ends
    sent = [
        Say("ä" * 3000, "corrupt"),
        *(Fill(1, n, n * 40, 0, n, 0, DecodeStamps(n, n, n, 0)) for n in range(200)),
        Over(3),
    ]
    for message in sent:
        assert child.send(message)
    assert [parent.receive() for _ in sent] == sent
    assert parent.receive() is None
    assert not parent.closed_by_peer


def test_half_a_message_is_none_until_the_rest_is_there() -> None:
    left, right = socket.socketpair()
    whole, other = socket.socketpair()
    child_end(whole).send(Say("hello", "x"))
    data = other.recv(1000)
    parent = parent_end(left)
    for cut in data[:-1]:
        right.send(bytes([cut]))
        assert parent.receive() is None
    right.send(data[-1:])
    assert parent.receive() == Say("hello", "x")
    for end in (left, right, whole, other):
        end.close()


def test_a_descriptor_rides_along(ends: Ends) -> None:
    parent, child = ends
    reader, writer = os.pipe()
    parent.send(Start(LAYOUT, None), [writer])
    parent.send(Offer(0))
    os.close(writer)
    assert child.receive() == Start(LAYOUT, None)
    copy = child.take_fd()
    assert child.receive() == Offer(0)
    os.write(copy, b"x")
    assert os.read(reader, 1) == b"x"
    os.close(copy)
    os.close(reader)


def test_what_was_sent_before_the_end_is_read_before_the_end_is_seen(ends: Ends) -> None:
    parent, child = ends
    child.send(Over(0))
    child.close()
    assert parent.receive() == Over(0)
    assert parent.receive() is None
    assert parent.closed_by_peer
    assert not parent.send(Offer(1))


def test_an_error_travels_with_its_class_its_remedy_and_its_facts() -> None:
    error = BadInputError("broken", remedy="Mend it.", frames=3, path="a", size=(1, 2))
    again = Failed.of(error).rebuild()
    assert type(again) is BadInputError
    assert (again.what, again.remedy, again.exit_code) == ("broken", "Mend it.", 65)
    assert again.facts == {"frames": 3, "path": "a", "size": "(1, 2)"}
    assert type(Failed.of(NoInputError("gone", remedy="Look.")).rebuild()) is NoInputError
