"""A hub on loopback: the parts of the Hugging Face hub's HTTP protocol that downloads and uploads use."""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
import urllib.parse

COMMIT = "a" * 40


class Hub:
    """Repositories in memory. files: {repo: {path: bytes}}; downloads: the paths whose contents were sent."""

    def __init__(self):
        self.files: dict[str, dict[str, bytes]] = {}
        self.objects: dict[str, bytes] = {}
        self.downloads: list[str] = []
        self.revisions: list[str] = []
        self.url = ""


def _handler(hub: Hub):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def _send(self, status=200, body=b"", **headers):
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            headers = {"content-length": len(body), "content-type": "application/json", **headers}
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), str(value))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _body(self) -> bytes:
            if "chunked" in self.headers.get("transfer-encoding", ""):
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("content-length", 0)))

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(tree|revision)/(.+))?", path):
                repo, kind, revision = found[1], found[2], found[3]
                if repo not in hub.files:
                    return self._send(404, {"error": "Repository not found"}, x_error_code="RepoNotFound")
                hub.revisions.append(revision or "main")
                names = sorted(hub.files[repo])
                if kind == "tree":
                    entries = [
                        {"type": "file", "path": n, "size": len(hub.files[repo][n]), "oid": COMMIT} for n in names
                    ]
                    return self._send(body=entries)
                siblings = [{"rfilename": n} for n in names]
                return self._send(body={"_id": "1", "id": repo, "sha": COMMIT, "siblings": siblings, "tags": []})
            if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                data = hub.files.get(found[1], {}).get(found[3])
                if data is None:
                    return self._send(404, {"error": "Entry not found"}, x_error_code="EntryNotFound")
                if self.command == "GET":
                    hub.downloads.append(found[3])
                etag = f'"{hashlib.sha256(data).hexdigest()}"'
                return self._send(body=data, x_repo_commit=COMMIT, etag=etag, accept_ranges="bytes")
            return self._send(404, {"error": path})

        def do_PUT(self):
            hub.objects[self.path.rsplit("/", 1)[1]] = self._body()
            self._send()

        def do_POST(self):
            path, body = urllib.parse.urlsplit(self.path).path, self._body()
            if path == "/api/repos/create":
                asked = json.loads(body)
                repo = "/".join(filter(None, (asked.get("organization"), asked["name"])))
                hub.files.setdefault(repo, {})
                return self._send(body={"url": f"{hub.url}/{repo}", "id": repo, "name": repo})
            if re.fullmatch(r"/api/models/(.+)/branch/(.+)", path):
                return self._send(201, {})
            if path == "/api/validate-yaml":
                return self._send(body={"errors": [], "warnings": []})
            if found := re.fullmatch(r"/api/models/(.+)/preupload/(.+)", path):
                files = [
                    {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(".safetensors") else "regular"}
                    for f in json.loads(body)["files"]
                ]
                return self._send(body={"files": [{**f, "shouldIgnore": False} for f in files]})
            if re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", path):
                objects = [
                    {**o, "actions": {"upload": {"href": f"{hub.url}/lfs/{o['oid']}"}}}
                    for o in json.loads(body)["objects"]
                ]
                return self._send(body={"transfer": "basic", "objects": objects})
            if found := re.fullmatch(r"/api/models/(.+)/commit/(.+)", path):
                hub.revisions.append(found[2])
                for line in map(json.loads, body.splitlines()):
                    value = line["value"]
                    if line["key"] == "file":
                        hub.files[found[1]][value["path"]] = base64.b64decode(value["content"])
                    if line["key"] == "lfsFile":
                        hub.files[found[1]][value["path"]] = hub.objects[value["oid"]]
                answer = {"commitUrl": f"{hub.url}/{found[1]}/commit/{COMMIT}", "commitOid": COMMIT, "success": True}
                return self._send(body=answer)
            return self._send(404, {"error": path})

    return Handler


@contextlib.contextmanager
def serve():
    """A `Hub` that answers at `hub.url`."""
    hub = Hub()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
