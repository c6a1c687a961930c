"""Servers that run in a thread of this process while a test asks them."""

import threading
from contextlib import contextmanager


@contextmanager
def run(server):
    """A server of Python's or of werkzeug's, until the block ends."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
