"""The log of one attempt: what the task prints, up to a limit, and the end of what it printed."""

from __future__ import annotations

import os

_READ_BYTES = 65536
_END_BYTES = 65536


class Log:
    """Appends to a file until bytes_max; what comes after is counted, and its last part is kept for the end."""

    def __init__(self, path: str, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes_seen = 0
        self.bytes_kept = 0
        self.error = ""
        self.end = b""
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def copy(self, source: int) -> bool:
        """Take one read's worth from the pipe; False at its end."""
        data = os.read(source, _READ_BYTES)
        if not data:
            return False
        self.bytes_seen += len(data)
        self.end = (self.end + data)[-_END_BYTES:]
        room = self.bytes_max - self.bytes_kept
        if room > 0:
            self._write(data[:room])
        return True

    def drain(self, source: int) -> None:
        """Take what is left in the pipe, without waiting for anybody who might still hold its other end."""
        os.set_blocking(source, False)
        try:
            while self.copy(source):
                continue
        except BlockingIOError:
            return

    def close(self) -> None:
        left_out = self.bytes_seen - self.bytes_kept
        if left_out > 0 and not self.error:
            end = self.end[-min(left_out, _END_BYTES) :]
            skipped = left_out - len(end)
            note = f"\n[log: limit of {self.bytes_max} bytes reached, {skipped} bytes left out here]\n"
            self._write(note.encode() + end)
        os.close(self.file)

    def last(self, bytes_max: int) -> str:
        """The last printed lines."""
        return self.end[-bytes_max:].decode("utf-8", "replace")

    def _write(self, data: bytes) -> None:
        """A log that cannot be written must not stop the task; the reason is told with its end."""
        try:
            while data:
                written = os.write(self.file, data)
                self.bytes_kept += written
                data = data[written:]
        except OSError as error:
            self.error = error.strerror or str(error)
