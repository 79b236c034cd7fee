"""Servers on this machine that behave as cameras do: they send in real time, drop connections, and fall silent."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from types import TracebackType

PACKET = 188 * 7  # bytes of MPEG-TS at a time


class Feed:
    """Serves MPEG-TS over plain TCP, to one client at a time, in the manner that is set."""

    def __init__(self, clip: Path, *, pause_s: float = 0.004, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(0.05)
        self.port = self._listener.getsockname()[1]
        self.clip = clip
        self.connections = 0
        self.drops = 0
        self.drop_after = 1 << 40  # bytes of one connection
        self.silent_after = 1 << 40
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def uri(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError, OSError):
                client, _ = self._listener.accept()
                with client:
                    self.connections += 1
                    client.settimeout(5)
                    self._greet(client)
                    self._send(client)

    def _greet(self, client: socket.socket) -> None:
        """Plain TCP says nothing first."""

    def _send(self, client: socket.socket) -> None:
        data = self.clip.read_bytes()
        sent = 0
        while not self._stop.is_set() and sent < self.drop_after:
            if sent >= self.silent_after:
                self._wait_until_left(client)
                return
            at = sent % len(data)
            sent += client.send(data[at : at + PACKET])
            self._stop.wait(self._pause_s)
        self.drops += 1

    def _wait_until_left(self, client: socket.socket) -> None:
        client.settimeout(0.05)
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                if not client.recv(1):
                    return


class HttpFeed(Feed):
    """The same over HTTP, for those who know the password."""

    @property
    def uri(self) -> str:
        return f"http://viewer:hunter2secret@127.0.0.1:{self.port}/live"

    def _greet(self, client: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += client.recv(4096)
        if b"Authorization: Basic" in request:
            client.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n")
        else:
            client.sendall(
                b'HTTP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n'
            )
            raise OSError("not authorised")


class SilentFeed(Feed):
    """Accepts everybody and says nothing."""

    def _send(self, client: socket.socket) -> None:
        self._wait_until_left(client)


def rtp_packets(clip: Path) -> list[bytes]:
    """The clip's H.264 as RTP packets, made by FFmpeg's own muxer."""
    import av

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink.settimeout(0.2)
        packets: list[bytes] = []
        done = threading.Event()

        def collect() -> None:
            while True:
                try:
                    packets.append(sink.recv(2048))
                except TimeoutError:
                    if done.is_set():
                        return

        collector = threading.Thread(target=collect)
        collector.start()
        port = sink.getsockname()[1]
        with av.open(str(clip)) as source, av.open(f"rtp://127.0.0.1:{port}?pkt_size=1200", "w", format="rtp") as out:
            stream = out.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
        done.set()
        collector.join()
    return packets


SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track0\r\n"
)


class RtspFeed(Feed):
    """An RTSP camera that speaks TCP only, asks for a password, and hangs up after each round of its clip."""

    def __init__(self, clip: Path) -> None:
        super().__init__(clip, pause_s=0.004)
        self._packets = rtp_packets(clip)
        self.methods: list[str] = []

    @property
    def uri(self) -> str:
        return f"rtsp://viewer:hunter2secret@127.0.0.1:{self.port}/live"

    def _send(self, client: socket.socket) -> None:
        while (method := self._answer(client)) != "PLAY":
            if method == "TEARDOWN":
                return
        for packet in self._packets:
            client.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)
            if self._stop.wait(self._pause_s):
                return

    def _answer(self, client: socket.socket) -> str:
        request = b""
        while b"\r\n\r\n" not in request:
            if not (data := client.recv(4096)):
                raise OSError("hung up")
            request += data
        method, _, rest = request.decode().partition(" ")
        self.methods.append(method)
        lines = dict(line.partition(": ")[::2] for line in rest.split("\r\n")[1:])
        body = ""
        extra = ""
        status = "200 OK"
        if method == "DESCRIBE" and "Authorization" not in lines:
            status, extra = "401 Unauthorized", 'WWW-Authenticate: Basic realm="camera"\r\n'
        elif method == "DESCRIBE":
            body = SDP
            extra = f"Content-Type: application/sdp\r\nContent-Base: rtsp://127.0.0.1:{self.port}/live/\r\n"
        elif method == "SETUP":
            assert "RTP/AVP/TCP" in lines["Transport"]
            extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        head = f"RTSP/1.0 {status}\r\nCSeq: {lines['CSeq']}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
        client.sendall((head + body).encode())
        return method
