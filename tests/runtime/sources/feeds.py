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

    def __init__(self, clip: Path, *, pause_s: float = 0.004) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port = self._listener.getsockname()[1]
        self.clip = clip
        self.connections = 0
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
