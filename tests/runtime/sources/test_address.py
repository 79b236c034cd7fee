"""Input arguments: what they name, in which order pictures come, and that passwords never show."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutline.runtime.errors import DeviceError, NoInputError, UsageError
from cutline.runtime.sources.address import Address, Kind, Redactor, is_live, list_pictures, stable_device


@pytest.mark.parametrize(
    ("uri", "kind", "live"),
    [
        ("-", Kind.STDIN, False),
        ("clip.mp4", Kind.FILE, False),
        ("no/such/thing", Kind.FILE, False),
        ("a:b.mp4", Kind.FILE, False),
        ("file:///tmp/a%20b.mp4", Kind.FILE, False),
        ("one.PNG", Kind.PICTURES, False),
        ("shots/*.jpg", Kind.PICTURES, False),
        ("/dev/video0", Kind.CAMERA, True),
        ("/dev/v4l/by-path/usb-0:1", Kind.CAMERA, True),
        ("rtsp://camera/1", Kind.STREAM, True),
        ("RTSPS://camera/1", Kind.STREAM, True),
        ("srt://host:1", Kind.STREAM, True),
        ("tcp://host:1", Kind.STREAM, True),
        ("http://host/live", Kind.STREAM, True),
        ("http://host/live.m3u8", Kind.STREAM, True),
        ("https://host/clip.mp4?a=b", Kind.STREAM, False),
        ("synthetic://kiosk?seed=1", Kind.CUSTOM, False),
    ],
)
def test_an_argument_names_its_kind(uri: str, kind: Kind, live: bool) -> None:
    assert Address.parse(uri).kind is kind
    assert is_live(uri) is live


def test_a_file_url_is_its_path() -> None:
    assert Address.parse("file:///tmp/a%20b.mp4").uri == "/tmp/a b.mp4"


def test_a_folder_is_pictures_and_a_file_with_a_star_in_its_name_is_itself(tmp_path: Path) -> None:
    assert Address.parse(str(tmp_path)).kind is Kind.PICTURES
    odd = tmp_path / "take[1].mp4"
    odd.touch()
    assert Address.parse(str(odd)).kind is Kind.FILE


def test_a_csi_camera_is_refused_with_a_way_out() -> None:
    with pytest.raises(DeviceError, match="V4L2"):
        Address.parse("csi://0")


def test_nothing_at_all_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        Address.parse("")


def test_pictures_come_in_natural_order_and_nothing_else_does(tmp_path: Path) -> None:
    for name in ("f10.png", "f9.png", "f1.PNG", "f2.jpg", "notes.txt", "clip.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_pictures(str(tmp_path))] == ["f1.PNG", "f2.jpg", "f9.png", "f10.png"]
    assert [path.name for path in list_pictures(f"{tmp_path}/f?.png")] == ["f9.png"]
    assert [path.name for path in list_pictures(f"{tmp_path}/f9.png")] == ["f9.png"]


@pytest.mark.parametrize("text", ["{}", "{}/*.png", "{}/none.png"])
def test_no_pictures_is_no_input(tmp_path: Path, text: str) -> None:
    with pytest.raises(NoInputError):
        list_pictures(text.format(tmp_path))


@settings(deadline=None)
@given(st.lists(st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True), unique=True))
def test_natural_order_sorts_any_names(names: list[str]) -> None:
    from cutline.runtime.sources.address import _natural

    ordered = sorted((Path(name) for name in names), key=_natural)
    assert sorted(map(str, ordered)) == sorted(names)


@pytest.mark.parametrize(
    "uri",
    [
        "rtsp://admin:s3cret@10.0.0.1:554/stream",
        "rtsp://admin:s3%63ret@10.0.0.1/stream",
        "http://s3cret@host/stream",
        "http://host/stream?user=bob&password=s3cret&x=1",
        "http://host/stream?access_token=s3cret",
        "http://host/stream?x=1&sig=s3cret",
    ],
)
def test_credentials_do_not_show_in_names_or_in_what_ffmpeg_says(uri: str) -> None:
    redactor = Redactor(uri)
    said = f"Connection to {uri} failed: user 's3cret' was refused"
    assert "s3cret" not in redactor.name
    if "@" in uri:
        assert "s3cret" not in redactor.clean(said)
    assert "host" in redactor.name or "10.0.0.1" in redactor.name


def test_a_password_with_an_at_sign_is_cut_whole() -> None:
    assert Redactor("http://a:s3@cret@host/stream").name == "http://host/stream"


def test_a_name_without_credentials_stays_as_it_is() -> None:
    for uri in ("clip.mp4", "rtsp://10.0.0.1:554/a?x=1", "/dev/video0", "me@home.mp4"):
        assert Redactor(uri).name == uri


def test_a_camera_is_named_by_its_port(tmp_path: Path) -> None:
    device = tmp_path / "video3"
    device.touch()
    ports = tmp_path / "by-path"
    ports.mkdir()
    (ports / "pci-usb-0:2").symlink_to(device)
    (ports / "pci-usb-0:1").symlink_to(tmp_path / "video9")
    assert stable_device(str(device), ports) == str(ports / "pci-usb-0:2")
    assert stable_device(str(tmp_path / "video4"), ports) == str(tmp_path / "video4")
    assert stable_device(str(device), tmp_path / "absent") == str(device)
