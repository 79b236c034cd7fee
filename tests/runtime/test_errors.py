from __future__ import annotations

import pickle

import pytest

from cutline.runtime import errors
from cutline.runtime.errors import CutlineError, NoInputError

KINDS = [getattr(errors, name) for name in errors.__all__]


def test_an_error_says_what_where_and_what_to_do() -> None:
    error = NoInputError("input does not exist", remedy="Check the path.", input="a.mp4")
    assert str(error) == "input does not exist (input='a.mp4'). Check the path."


def test_a_remedy_is_mandatory() -> None:
    with pytest.raises(TypeError, match="remedy"):
        CutlineError("something")  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_survives_the_way_between_processes(kind: type[CutlineError]) -> None:
    error = pickle.loads(pickle.dumps(kind("broken", remedy="Mend it.", part="wheel")))
    assert type(error) is kind
    assert str(error) == "broken (part='wheel'). Mend it."


def test_exit_codes_are_those_of_sysexits() -> None:
    assert {kind.exit_code for kind in KINDS} == {64, 65, 66, 69, 70, 73, 74, 77}


def test_the_tree_is_drawn_at_the_top_of_the_file() -> None:
    assert errors.__doc__ is not None
    for kind in KINDS:
        assert f"{kind.__name__} " in errors.__doc__
        assert str(kind.exit_code) in errors.__doc__
