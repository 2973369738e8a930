"""`deepbase` on a path of tests: each command is a fork of one process that has imported what commands import.

Most of what a command costs is the import of torch and transformers. A page of the documentation has up to eleven
commands, which run in a shell, with its pipes and files. So a small `deepbase` comes first on their path. It hands its
arguments, folder, environment and files to a server, which forks: the fork is a process of its own that runs the
command line as ever, and its exit code is handed back. That a command starts by itself is shown by `test_packaging.py`,
`test_cli.py` and `test_runs.py`.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PRELOADED = """deepbase.cli deepbase.database deepbase.inspection deepbase.runs deepbase.engine.driver
deepbase.engine.results deepbase.models.loading deepbase.tables.scan deepbase.report.terminal deepbase.measures.registry
torch transformers transformers.models.auto.modeling_auto transformers.models.auto.tokenization_auto
transformers.models.bert.modeling_bert pandas scipy.stats pyarrow.compute"""

CLIENT = """#!{python} -IS
import json, os, socket, sys

server = socket.socket(socket.AF_UNIX)
server.connect({path!r})
request = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
socket.send_fds(server, [b"."], [0, 1, 2])
server.sendall(json.dumps(request).encode())
server.shutdown(socket.SHUT_WR)
sys.exit(int(server.recv(8) or 70))
"""


@contextmanager
def forks(folder: Path) -> Iterator[Path]:
    """A folder in which `deepbase` is a fork of a process that lives as long as this.

    Args:
        folder: an empty one, with a short path: that of a socket has at most 107 bytes.
    """
    path = str(folder / "socket")
    client = folder / "bin" / "deepbase"
    client.parent.mkdir()
    client.write_text(CLIENT.format(python=sys.executable, path=path))
    client.chmod(0o755)
    server = subprocess.Popen([sys.executable, __file__, path], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield client.parent
    finally:
        server.kill()
        server.communicate()


def serve(path: str) -> None:
    """Fork for each command that comes."""
    for name in PRELOADED.split():
        __import__(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    print("ready", flush=True)
    while True:
        client, _ = listening.accept()
        if os.fork():
            client.close()
        else:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            run(client)


def run(client: socket.socket) -> None:
    """Run the command line in this process, which ends with it."""
    _, files, *_ = socket.recv_fds(client, 1, 3)
    request = json.loads(b"".join(iter(lambda: client.recv(2**16), b"")))
    for i, file in enumerate(files):
        os.dup2(file, i)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.argv = ["deepbase", *request["arguments"]]
    code: object = 0
    try:
        from deepbase.cli import main

        main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    client.sendall(str(code if isinstance(code, int) else int(code is not None)).encode())
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])
