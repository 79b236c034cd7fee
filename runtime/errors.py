"""Every error that Cutline raises on purpose, sorted by whose fault it is.

CutlineError                     base; `exit_code` follows sysexits.h
├── UsageError            64     the caller asked for something that makes no sense
├── ContractError         65     a model contract is wrong, or does not fit its network
├── BadInputError         65     video, image or model data that cannot be used
│   └── BundleError       65     a bundle that is damaged, or not a bundle
├── NoInputError          66     the input does not exist
├── DeviceError           69     a demanded device or library is missing or failed
│   └── DeviceLostError   69     the device failed for this process; another process may find it well
├── OutputError           73     the output cannot be created
├── StorageError          74     reading or writing failed midway (disk full, broken pipe)
├── TrustError            77     signature, key, rollback or permission refused
└── InternalError         70     a bug in Cutline
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BadInputError",
    "BundleError",
    "ContractError",
    "CutlineError",
    "DeviceError",
    "DeviceLostError",
    "InternalError",
    "NoInputError",
    "OutputError",
    "StorageError",
    "TrustError",
    "UsageError",
]


class CutlineError(Exception):
    """Base of every error. `remedy` is one imperative sentence; `facts` are shown as name=value."""

    exit_code: ClassVar[int] = 70

    def __init__(self, what: str, *, remedy: str, **facts: object) -> None:
        self.what, self.remedy, self.facts = what, remedy, facts
        seen = ", ".join(f"{name}={value!r}" for name, value in facts.items())
        super().__init__(f"{what} ({seen}). {remedy}" if seen else f"{what}. {remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling: the default would call the class with the finished message alone."""
        return (_rebuild, (type(self), self.what, self.remedy, self.facts))


def _rebuild(kind: type[CutlineError], what: str, remedy: str, facts: dict[str, object]) -> CutlineError:
    return kind(what, remedy=remedy, **facts)


class UsageError(CutlineError):
    """The caller asked for something that makes no sense."""

    exit_code = 64


class ContractError(CutlineError):
    """A model contract is wrong, or does not fit its network."""

    exit_code = 65


class BadInputError(CutlineError):
    """Video, image or model data that cannot be used."""

    exit_code = 65


class BundleError(BadInputError):
    """A bundle that is damaged, or no bundle at all."""


class NoInputError(CutlineError):
    """The input does not exist."""

    exit_code = 66


class DeviceError(CutlineError):
    """A demanded device or library is missing, or it failed."""

    exit_code = 69


class DeviceLostError(DeviceError):
    """The device failed and this process can use it no more; another process may find it well."""


class OutputError(CutlineError):
    """The output cannot be created."""

    exit_code = 73


class StorageError(CutlineError):
    """Reading or writing failed midway: disk full, broken pipe."""

    exit_code = 74


class TrustError(CutlineError):
    """Signature, key, rollback or permission refused."""

    exit_code = 77


class InternalError(CutlineError):
    """A bug in Cutline."""
