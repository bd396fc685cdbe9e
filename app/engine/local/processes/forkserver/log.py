"""The log of one attempt: its output up to a limit, and the end of its output."""

from __future__ import annotations

import os

# Another task may have left a link or a pipe in place of the log.
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_READ_BYTES = 65536
_END_BYTES = 65536
# A pipe holds no more, unless a privileged process enlarges it.
_PIPE_BYTES_MAX = 1024 * 1024


class Log:
    """Appends output to a file up to a limit. Of the output beyond the limit, the last part is appended by `close`.

    Args:
        path: The file.
        bytes_max: The limit.
        notice: Text at the beginning of a new file, which does not count.

    Attributes:
        bytes_seen: The size of the output so far.
        error: The reason why the file cannot be written; "" while it can.
    """

    def __init__(self, path: str, bytes_max: int, notice: str) -> None:
        self.bytes_max = bytes_max
        self.bytes_seen = 0
        self.bytes_kept = 0
        self.error = ""
        self.end = b""
        self.file = os.open(path, _FLAGS, 0o600)
        # An earlier start of this attempt may have written it.
        if notice and not os.fstat(self.file).st_size:
            self._write(notice.encode())
            self.bytes_kept = 0

    def copy(self, source: int) -> bool:
        """Read the pipe `source` once; return False at its end."""
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
        """Read what the pipe `source` holds, without waiting for processes that still hold its other end."""
        os.set_blocking(source, False)
        seen_max = self.bytes_seen + _PIPE_BYTES_MAX
        try:
            # A process that could not be killed may print without end.
            while self.bytes_seen < seen_max and self.copy(source):
                continue
        except BlockingIOError:
            return

    def close(self) -> None:
        """Append the number of bytes left out and the end of the output, and close the file."""
        left_out = self.bytes_seen - self.bytes_kept
        if left_out > 0 and not self.error:
            end = self.end[-min(left_out, _END_BYTES) :]
            skipped = left_out - len(end)
            note = f"\n[log: limit of {self.bytes_max} bytes reached, {skipped} bytes left out here]\n"
            self._write(note.encode() + end)
        os.close(self.file)

    def last(self, bytes_max: int) -> str:
        """Return the end of the output."""
        return self.end[-bytes_max:].decode("utf-8", "replace")

    def _write(self, data: bytes) -> None:
        # A full disk must not end the task: the exit record holds the error.
        try:
            while data:
                written = os.write(self.file, data)
                self.bytes_kept += written
                data = data[written:]
        except OSError as error:
            self.error = error.strerror or str(error)
