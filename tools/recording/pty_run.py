"""Runs a command in a pseudo-terminal and keeps what it writes, with the times. It interprets none of it."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time

from recording.timeline import Event, Run

# A program draws a picture in several writes. Writes that follow each other this closely are one event, but not for
# longer than the second value, so that text that never pauses is still seen to come.
BURST_GAP_S = 0.002
BURST_MAX_S = 0.020
READ_BYTES = 1 << 16


class TimedOut(Exception):
    """The command ran for too long, and was ended."""


def run(arguments, columns, rows, timeout_s):
    """Runs `arguments` in a terminal of `columns` by `rows` to its end. Nothing is ever typed into it."""
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment.update(TERM="xterm-256color", COLORTERM="truecolor")
    started = time.monotonic()
    pid, terminal = pty.fork()
    if pid == 0:
        # In the child: whatever fails here must end it, and never come back into the caller's code.
        try:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execvpe(arguments[0], arguments, environment)
        except OSError as error:
            os.write(2, f"{arguments[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(127)
    try:
        events = list(_events(terminal, started, timeout_s))
        status = _wait(pid, started, timeout_s)
    except BaseException:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(terminal)
    return Run(events, time.monotonic() - started, os.waitstatus_to_exitcode(status))


def _events(terminal, started, timeout_s):
    while data := _read(terminal, _left(started, timeout_s)):
        began = seconds = time.monotonic()
        while seconds - began < BURST_MAX_S and _is_ready(terminal, BURST_GAP_S):
            more = _read(terminal, 0)
            if not more:
                break
            data += more
            seconds = time.monotonic()
        yield Event(seconds - started, data)


def _wait(pid, started, timeout_s):
    """The status of a process that may live on after it has closed its terminal."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        _left(started, timeout_s)
        time.sleep(0.001)


def _left(started, timeout_s):
    left = started + timeout_s - time.monotonic()
    if left <= 0:
        raise TimedOut(f"still running after {timeout_s:g} s")
    return left


def _is_ready(terminal, seconds):
    return bool(select.select([terminal], [], [], seconds)[0])


def _read(terminal, seconds):
    """Bytes; none when all programs have closed the terminal."""
    if not _is_ready(terminal, seconds):
        raise TimedOut("still running when its time was over")
    try:
        return os.read(terminal, READ_BYTES)
    except OSError:  # Linux says EIO where others say end of file
        return b""
