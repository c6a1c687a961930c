"""A small Hub on this machine: repositories of data sets, at the HTTP level that huggingface_hub and datasets speak.

Files of these suffixes are large ones (git LFS), sent one by one and then named in a commit, as at the real one.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

import servers

LARGE = (".tar", ".parquet", ".arrow")
TOKEN = "hf_right"
READ_ONLY_TOKEN = "hf_reads"


class Hub:
    """What the server has: large files by hash, and of each repository its commits, each all files by name."""

    def __init__(self):
        self.large, self.repositories, self.received = {}, {}, []
        self.on_upload = lambda: None  # called before a large file is taken
        self.lock = threading.Lock()

    def files(self, name):
        """The files of a repository as they are now."""
        return self.repositories[name][-1][1]

    def commit(self, name, changes):
        oid = hashlib.sha1(json.dumps([name, len(self.repositories[name])]).encode()).hexdigest()
        files = self.files(name) | changes
        self.repositories[name].append((oid, {path: data for path, data in files.items() if data is not None}))
        return oid


@contextmanager
def start_hub():
    """The Hub and its address."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfHub", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    with servers.run(server):
        yield hub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer("GET")

    def do_HEAD(self):
        self._answer("HEAD")

    def do_POST(self):
        self._answer("POST")

    def do_PUT(self):
        self._answer("PUT")

    def _answer(self, method):
        path, self.query = unquote(urlsplit(self.path).path), parse_qs(urlsplit(self.path).query)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        for verbs, pattern, name, needs in _ROUTES:
            if method in verbs.split() and (found := re.fullmatch(pattern, path)):
                if needs and token not in (TOKEN, READ_ONLY_TOKEN):
                    return self._send({"error": "Invalid username or password."}, 401)
                if needs == "write" and token == READ_ONLY_TOKEN:
                    return self._send({"error": "You don't have the rights"}, 403)
                with self.hub.lock:
                    return getattr(self, name)(*found.groups())
        return self._send({"error": f"no {method} {path}"}, 404)

    def _send(self, content, status=200, **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, code, sentence, status=404):
        self._send({"error": sentence}, status, X_Error_Code=code, X_Error_Message=sentence)

    # --- Repositories ---

    def create(self):
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if not name.startswith("me/"):
            return self._send({"error": "You don't have the rights to create a dataset under this namespace"}, 403)
        exists = name in self.hub.repositories
        if not exists:
            self.hub.repositories[name] = [("0" * 40, {".gitattributes": b"*.tar filter=lfs\n"})]
        return self._send({"url": f"{self.hub.address}/datasets/{name}", "name": name}, 409 if exists else 200)

    def about(self, name, _=None):
        if name not in self.hub.repositories:
            return self._refuse("RepoNotFound", "Repository not found")
        files = [{"rfilename": path} for path in self.hub.files(name)]
        sha = self.hub.repositories[name][-1][0]
        return self._send(
            {"id": name, "sha": sha, "siblings": files, "private": False, "tags": [], "downloads": 0, "likes": 0}
        )

    def tree(self, name, revision, under):
        if name not in self.hub.repositories:
            return self._refuse("RepoNotFound", "Repository not found")
        listed = self._list(name, under)
        if under and not listed:
            return self._refuse("EntryNotFound", f"{under} does not exist")
        deep = self.query.get("recursive", [""])[0].lower() in ("true", "1")
        depth = len(PurePosixPath(under or "").parts) + 1
        return self._send([each for each in listed if deep or len(PurePosixPath(each["path"]).parts) == depth])

    def paths(self, name, revision):
        asked = json.loads(self.body)["paths"] if self.body.startswith(b"{") else parse_qs(self.body.decode())["paths"]
        return self._send([each for each in self._list(name) if each["path"] in asked])

    def _list(self, name, under=None):
        """The files and folders below a folder."""
        files = self.hub.files(name)
        folders = sorted({str(parent) for path in files for parent in PurePosixPath(path).parents} - {"."})
        listed = [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders]
        listed += [_describe(path, data) for path, data in sorted(files.items())]
        return [each for each in listed if not under or each["path"].startswith(under + "/")]

    def resolve(self, name, revision, path):
        if name not in self.hub.repositories:
            return self._refuse("RepoNotFound", "Repository not found")
        data = self.hub.files(name).get(path)
        if data is None:
            return self._refuse("EntryNotFound", "Entry not found")
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X_Repo_Commit": self.hub.repositories[name][-1][0]}
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(wanted[1]), int(wanted[2] or len(data) - 1)
            part = data[first : last + 1]
            return self._send(part, 206, Content_Range=f"bytes {first}-{first + len(part) - 1}/{len(data)}", **headers)
        return self._send(data, Accept_Ranges="bytes", **headers)

    def refs(self, name):
        return self._send({"branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": "0" * 40}], "tags": []})

    def fail(self):
        return self._send({"error": "Internal Error"}, 503)

    def hang_up(self):
        self.close_connection = True

    # --- Uploads ---

    def check_card(self):
        return self._send({"errors": [], "warnings": []})

    def preupload(self, name, revision):
        if name not in self.hub.repositories:
            return self._refuse("RepoNotFound", "Repository not found")
        there, files = self.hub.files(name), []
        for path in (each["path"] for each in json.loads(self.body)["files"]):
            about = _describe(path, there[path]) if path in there else {}
            mode, oid = ("lfs", about.get("lfs", {}).get("oid")) if path.endswith(LARGE) else ("regular", about.get("oid"))
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return self._send({"files": files})

    def batch(self, name):
        objects = []
        for each in json.loads(self.body)["objects"]:
            action = {"upload": {"href": f"{self.hub.address}/large/{each['oid']}"}}
            objects.append(each if each["oid"] in self.hub.large else each | {"actions": action})
        return self._send({"transfer": "basic", "objects": objects})

    def take(self, oid):
        self.hub.on_upload()
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.large[oid] = self.body
        self.hub.received.append(oid)
        return self._send(b"")

    def commit(self, name, revision):
        changes = {}
        for line in self.body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                changes[value["path"]] = self.hub.large[value["oid"]]
            elif entry["key"] == "deletedFile":
                changes[value["path"]] = None
        oid = self.hub.commit(name, changes)
        url = f"{self.hub.address}/datasets/{name}/commit/{oid}"
        return self._send({"success": True, "commitUrl": url, "commitOid": oid, "hookOutput": ""})


def _describe(path, data):
    """A file as the Hub lists it; a large one by the hash of its content, beside that of git's."""
    found = {"type": "file", "path": path, "size": len(data)}
    if path.endswith(LARGE):
        sha = hashlib.sha256(data).hexdigest()
        found["lfs"] = {"oid": sha, "size": len(data), "pointerSize": 134}
        data = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {len(data)}\n".encode()
    return found | {"oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()}


_NAME = r"([\w.-]+/[\w.-]+)"
_ROUTES = [
    ("POST", "/api/repos/create", "create", "write"),
    ("POST", "/api/validate-yaml", "check_card", ""),
    ("GET", f"/api/datasets/{_NAME}", "about", ""),
    ("GET", f"/api/datasets/{_NAME}/revision/([^/]+)", "about", ""),
    ("GET", f"/api/datasets/{_NAME}/tree/([^/]+)(?:/(.*))?", "tree", ""),
    ("POST", f"/api/datasets/{_NAME}/paths-info/([^/]+)", "paths", ""),
    ("GET", f"/api/datasets/{_NAME}/refs", "refs", ""),
    ("POST", f"/api/datasets/{_NAME}/preupload/([^/]+)", "preupload", "write"),
    ("POST", rf"/datasets/{_NAME}\.git/info/lfs/objects/batch", "batch", "write"),
    ("PUT", "/large/([0-9a-f]{64})", "take", ""),
    ("POST", f"/api/datasets/{_NAME}/commit/([^/]+)", "commit", "write"),
    ("GET HEAD", f"/datasets/{_NAME}/resolve/([^/]+)/(.+)", "resolve", ""),
]
