"""Processes that have imported what takes long before they start: forks of one process, which waits for orders.

Tests find `python` and `dvc` in FOLDER first on PATH, which need not import PyTorch, as that takes more than a second.
What is to be killed, or to start in a way of its own, takes the real ones. Linux only.
"""

import atexit
import gc
import importlib
import io
import json
import os
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

IMPORTED = ["torch", "torch.distributed.run", "torchinfo", "pandas", "matplotlib.figure", "sklearn.datasets", "dvc.cli"]
IMPORTED += ["dvc.cli.parser", "dvc.data_cloud", "dvc.repo", "dvc_render", "networkx", "ruamel.yaml", "scmrepo.git"]
FOLDER = Path(__file__).parents[1] / ".pytest_cache/forkserver"
NAME = "FORK_SERVER"  # the environment variable with the name of its socket
IDLE = 60  # seconds after which the server ends
# The server has no pipe of whoever starts it, who would else wait for its end.
NOWHERE: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)


def environment(real: dict[str, str]) -> dict[str, str]:
    """An environment in which these programs are found first, of one that has the real ones."""
    if sys.platform != "linux":
        return real
    FOLDER.mkdir(parents=True, exist_ok=True)
    for program in ("python", "dvc"):
        script = FOLDER / f"{program}.{os.getpid()}"
        script.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-IS", __file__, program])} "$@"\n')
        script.chmod(0o755)
        script.rename(FOLDER / program)
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))  # one server for all of pytest's processes
    python = str(FOLDER / "python")  # which torchrun takes, too
    return real | {NAME: f"forkserver-{run}", "PATH": f"{FOLDER}{os.pathsep}{real['PATH']}", "PYTHON_EXEC": python}


def order(*words: str) -> int:
    """Let the server run a program with what this process has, and wait; returns its status."""
    facts = {"words": words, "folder": str(Path.cwd()), "environment": dict(os.environ)}
    with connected(os.environ[NAME]) as server:
        socket.send_fds(server, [b"\n"], [0, 1, 2])
        server.sendall(f"{json.dumps(facts)}\n".encode())
        return (server.recv(1) or b"\xff")[0]  # nothing from one that was killed


def connected(name: str) -> socket.socket:
    """A connection with the server, which is started if there is none."""
    server = socket.socket(socket.AF_UNIX)
    for attempt in range(1_000):
        try:
            server.connect(f"\0{name}")
            return server
        except ConnectionRefusedError:
            if attempt == 0:
                command = [sys.executable, __file__, "serve", name]
                subprocess.Popen(command, **NOWHERE, start_new_session=True)
            time.sleep(0.05)
    raise TimeoutError(f"no fork server {name}")


def serve(name: str) -> None:
    """Fork a process for each order, until none comes."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(f"\0{name}")
    except OSError:
        return  # another was faster
    listener.listen(64)
    listener.settimeout(IDLE)
    for module in IMPORTED:
        importlib.import_module(module)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them here
    while True:
        try:
            connection = listener.accept()[0]
        except TimeoutError:
            return
        if os.fork() == 0:
            listener.close()
            os._exit(obey(connection))
        connection.close()


def obey(connection: socket.socket) -> int:
    """Run a program with what the ordering process has; returns its status after telling it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, files, *_ = socket.recv_fds(connection, 1, 3)
    facts = json.loads(connection.makefile().readline())
    for i, file in enumerate(files):
        os.dup2(file, i)
        os.close(file)
    os.chdir(facts["folder"])
    os.environ.clear()
    os.environ.update(facts["environment"])
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(i, mode, closefd=False) for i, mode in enumerate("rww"))
    sys.stderr.reconfigure(line_buffering=True)  # type: ignore[attr-defined]
    if threads := os.environ.get("OMP_NUM_THREADS"):  # which is read when PyTorch is imported
        sys.modules["torch"].set_num_threads(int(threads))
    status = status_of(facts["words"])
    atexit._run_exitfuncs()
    sys.stdout.flush()
    connection.sendall(bytes([status & 255]))
    return status


def status_of(words: list[str]) -> int:
    """What a program ends with; what it does not catch is told as the interpreter does."""
    try:
        try:
            return start(*words)
        except (Exception, KeyboardInterrupt):
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
            return 1
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def start(program: str, *words: str) -> int:
    """Run DVC, or Python with a module or a script."""
    if program == "dvc":
        from dvc.cli import main

        sys.argv = ["dvc", *words]
        return int(main(list(words)))
    unbuffered = words[0] == "-u"
    how, *others = words[unbuffered:]
    if unbuffered or os.environ.get("PYTHONUNBUFFERED"):
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", buffering=0, closefd=False), write_through=True)
    sys.path[:1] = ["", *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    if how == "-m":
        sys.argv = others
        runpy.run_module(others[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [how, *others]
        sys.path[0] = str(Path(how).resolve().parent)
        runpy.run_path(how, run_name="__main__")
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(order(*sys.argv[1:]))
