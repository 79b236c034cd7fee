"""What an input argument means: which kind of source it names, and how to speak of it without giving secrets away."""

from __future__ import annotations

import enum
import glob
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cutline.runtime.errors import DeviceError, NoInputError, UsageError
from cutline.runtime.printable import printable

__all__ = ["PICTURES", "Address", "Kind", "Redactor", "is_live", "list_pictures", "stable_device"]

PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

_LIVE_SCHEMES = frozenset(
    {"mms", "mmsh", "rtmp", "rtmps", "rtmpt", "rtp", "rtsp", "rtsps", "srt", "srtp", "tcp", "udp"}
)
_WEB_SCHEMES = frozenset({"ftp", "http", "https", "sftp"})
_RECORDED = frozenset({".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mxf", ".webm", *PICTURES})
_SECRET_QUERY = re.compile(
    r"(?i)([?&;](?:[\w.-]*(?:pass|pwd|token|secret|auth|signature|key|credential)[\w.-]*|sig|user|usr|login)=)[^&;#\s'\"]+"
)
_USERINFO = re.compile(r"(?i)([a-z][a-z0-9+.-]*://)[^/?#\s'\"]*@")
_SCHEME = re.compile(r"(?i)([a-z][a-z0-9+.-]*)://")


class Kind(enum.Enum):
    """Which reader serves the source."""

    FILE = "file"
    PICTURES = "pictures"
    STDIN = "stdin"
    CAMERA = "camera"
    STREAM = "stream"  # FFmpeg opens the URL
    CUSTOM = "custom"  # an entry point of the group cutline.sources opens it


@dataclass(frozen=True, slots=True)
class Address:
    """An input argument, understood."""

    uri: str
    kind: Kind
    scheme: str  # empty for paths

    @classmethod
    def parse(cls, uri: str) -> Address:
        """Understand an input argument; nothing is opened.

        Raises:
            UsageError: it is empty.
            DeviceError: it names a CSI camera, which FFmpeg cannot open.
        """
        if not uri:
            raise UsageError("the input is empty", remedy="Name a file, a folder, a camera or a URL.")
        if uri == "-":
            return cls(uri, Kind.STDIN, "")
        match = _SCHEME.match(uri)
        if match is None:
            return cls._path(uri)
        scheme = match[1].lower()
        if scheme == "file":
            return cls._path(unquote(urlsplit(uri).path))
        if scheme == "csi":
            raise DeviceError(
                "CSI cameras need GStreamer or libcamera, which this installation does not use",
                remedy="Give the camera a V4L2 device (libcamerify, v4l2loopback) and pass its /dev/videoN.",
                input=uri,
            )
        known = scheme in _LIVE_SCHEMES or scheme in _WEB_SCHEMES
        return cls(uri, Kind.STREAM if known else Kind.CUSTOM, scheme)

    @classmethod
    def _path(cls, text: str) -> Address:
        path = Path(text)
        if text.startswith(("/dev/video", "/dev/v4l/")):
            return cls(text, Kind.CAMERA, "")
        if path.is_dir() or path.suffix.lower() in PICTURES or (glob.has_magic(text) and not path.exists()):
            return cls(text, Kind.PICTURES, "")
        return cls(text, Kind.FILE, "")

    @property
    def looks_live(self) -> bool:
        """Whether frames come when they come, judged by the text alone."""
        if self.kind is Kind.STREAM and self.scheme in _WEB_SCHEMES:
            return Path(urlsplit(self.uri).path).suffix.lower() not in _RECORDED
        return self.kind in (Kind.CAMERA, Kind.STREAM)


def is_live(uri: str) -> bool:
    """Whether the input looks live: a camera, or a URL that is not plainly a recording.

    `SourceInfo.live` says what opening found, which decides.
    Raises:
        UsageError, DeviceError: as `Address.parse`.
    """
    return Address.parse(uri).looks_live


def list_pictures(text: str) -> list[Path]:
    """List the pictures of a folder, a glob or one file, in natural order (2 before 10).

    Raises:
        NoInputError: there is none, or the folder may not be read.
    """
    path = Path(text)
    try:
        if path.is_dir():
            found = [p for p in path.iterdir() if p.suffix.lower() in PICTURES and p.is_file()]
        elif path.exists():
            found = [path]
        else:
            found = [p for p in map(Path, glob.glob(text, recursive=True)) if p.is_file()]  # noqa: PTH207 - absolute too
    except PermissionError as error:
        raise NoInputError("the folder may not be read", remedy="Change its permissions.", input=text) from error
    if not found:
        what = "the folder holds no pictures" if path.is_dir() else "no such file"
        raise NoInputError(what, remedy=f"Give files that end in {', '.join(sorted(PICTURES))}.", input=text)
    return sorted(found, key=_natural)


def stable_device(device: str, by_path: Path = Path("/dev/v4l/by-path")) -> str:
    """Name a camera by the port that it is plugged into, where udev says so: /dev/videoN may change on a replug."""
    if Path(device).parent == by_path or not by_path.is_dir():
        return device
    target = Path(device).resolve()
    links = sorted(link for link in by_path.iterdir() if link.resolve() == target)
    return str(links[0]) if links else device


class Redactor:
    """Takes the credentials of one URI out of any text about it."""

    def __init__(self, uri: str) -> None:
        self._secrets: list[str] = []
        if match := re.match(r"(?i)[a-z][a-z0-9+.-]*://([^/?#]*)@", uri):
            user, _, password = match[1].partition(":")
            words = {match[1], password, unquote(password)}
            if not password:
                words |= {user, unquote(user)}
            self._secrets = sorted((word for word in words if len(word) >= 3), key=len, reverse=True)
        self.name = self.clean(uri)

    def clean(self, text: str) -> str:
        """Replace user, password and secret query values by ***, and make one line of it."""
        text = _SECRET_QUERY.sub(r"\1***", _USERINFO.sub(r"\1", text))
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return printable(text)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts if part]
