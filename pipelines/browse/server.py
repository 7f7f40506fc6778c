"""Serve the page to this machine alone."""

import socket
from pathlib import Path

import uvicorn

from pipelines.browse.app import create_app
from stages.engine.errors import InputError

HOST = "127.0.0.1"


def serve(root: Path, port: int) -> None:
    """Answer at http://127.0.0.1:`port` until SIGINT or SIGTERM.

    Args:
        root: the repository.
        port: 0 takes a free one.

    Raises:
        InputError: the port is taken.
    """
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((HOST, port))
        except OSError as error:
            raise InputError(f"--port {port}: {error.strerror}; choose another") from error
        taken.listen()  # who asks too early waits
        app = create_app(root)
        print(f"http://{HOST}:{taken.getsockname()[1]}  (Ctrl-C ends it)", flush=True)
        config = uvicorn.Config(app, log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[taken])
