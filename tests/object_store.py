"""An S3 server for tests: moto's, over HTTP. It notes the requests, and fails as a test asks it to."""

import io
import uuid
from collections.abc import Callable
from contextlib import contextmanager

import servers


class ObjectStore:
    """requests: method and key of each, in order. answer: gives a status and a body instead of the server's, or None."""

    def __init__(self):
        self.requests: list[tuple[str, str]] = []
        self.answer: Callable[[str, str], tuple[str, bytes] | None] = lambda method, path: None
        self.endpoint = ""

    def count(self, method: str, ending: str) -> int:
        return sum(each == method and path.endswith(ending) for each, path in self.requests)


@contextmanager
def serve():
    """The server, until the block ends."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Silent(WSGIRequestHandler):
        def log(self, *_):
            pass

    store, moto = ObjectStore(), DomainDispatcherApplication(create_backend_app)

    def answer(environ, start_response):
        method = environ["REQUEST_METHOD"]
        path = environ["PATH_INFO"] + ("?" + environ["QUERY_STRING"] if environ["QUERY_STRING"] else "")
        store.requests.append((method, path))
        if instead := store.answer(method, path):
            status, body = instead
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            return [] if method == "HEAD" else io.BytesIO(body)
        return moto(environ, start_response)

    server = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=Silent)
    store.endpoint = f"http://127.0.0.1:{server.port}"
    with servers.run(server):
        yield store


BUSY = "503 Slow Down", b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
EXPIRED = "400 Bad Request", b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"


def make_bucket(store, monkeypatch):
    """The URL of a new bucket, which this process and those that it starts have the right to use."""
    import s3fs

    from dx7data.storage import remote

    s3fs.S3FileSystem.clear_instance_cache()  # they keep the address of another server
    for name, value in {"ACCESS_KEY_ID": "name", "SECRET_ACCESS_KEY": "secret", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)
    monkeypatch.setattr(remote, "PAUSE", 0.001)
    store.answer = lambda method, path: None
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    open_s3().call_s3("create_bucket", Bucket=name)
    store.requests.clear()
    return f"s3://{name}"


def open_s3():
    """The file system of fsspec, not that of the code under test."""
    import fsspec

    return fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)


def read_all(url):
    """The objects under a URL, by what follows it."""
    fs, root = open_s3(), url.removeprefix("s3://")
    return {path.removeprefix(f"{root}/"): fs.cat_file(path) for path in fs.find(root)}
