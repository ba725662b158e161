"""Two processes of bare Daphne on one socket: what two workers are measured against."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys

from codexproxy.supervisor import bind


def main(port: int) -> None:
    listening = bind("127.0.0.1", port)
    fd = listening.fileno()
    command = [sys.executable, "-m", "daphne", "--fd", str(fd), "-v", "0", "benchmarks.bare:application"]
    children = [subprocess.Popen(command, pass_fds=(fd,)) for _ in range(2)]

    def end(*_: object) -> None:
        for child in children:
            child.terminate()

    signal.signal(signal.SIGTERM, end)
    for child in children:
        child.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    main(parser.parse_args().port)
