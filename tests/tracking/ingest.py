"""What does W&B receive of an online run? A stand-in of its ingest service on loopback, for tests.

It speaks what `wandb-core` asks for: GraphQL at /graphql, the stream of rows at /files/<entity>/<project>/<run>/
file_stream, and a place where files can be put. It answers nothing but 503 during an outage.
"""

import gzip
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "someone"
KEY = "0" * 40


class Ingest:
    """What has arrived, by run id: rows in order, the files' names, and how the run said it ended."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.configs: dict[str, Any] = {}
        self.summaries: dict[str, Any] = {}
        self.exit_codes: dict[str, int] = {}
        self.files: list[str] = []
        self.paths: set[str] = set()  # to which something was posted
        self.num_sent = 0  # rows, also those that came twice
        self.is_out = self.refuses_rows = False
        self.lock = threading.Lock()
        self.address = ""

    @property
    def num_rows(self) -> int:
        """Over all runs."""
        return sum(len(rows) for rows in self.rows.values())

    def stream(self, run: str, message: dict[str, Any]) -> None:
        """Take rows where the run's history stands at their offset; a row sent twice is there once."""
        history = message.get("files", {}).get("wandb-history.jsonl", {"offset": 0, "content": []})
        rows = self.rows.setdefault(run, [])
        assert history["offset"] <= len(rows), f"a gap before row {history['offset']} of {run}, which has {len(rows)}"
        new = [json.loads(line) for line in history["content"]]
        self.num_sent += len(new)
        rows[history["offset"] : history["offset"] + len(new)] = new
        if summary := message.get("files", {}).get("wandb-summary.json"):
            self.summaries[run] = json.loads(summary["content"][-1])
        if message.get("complete"):
            self.exit_codes[run] = message["exitcode"]

    def answer(self, query: str, variables: dict[str, Any]) -> Any:
        """What GraphQL answers to a query of `wandb-core`."""
        name = query.split(maxsplit=2)[1].partition("(")[0]
        answers = {
            "ServerFeaturesQuery": lambda _: {"serverInfo": {"features": []}},
            "Viewer": lambda _: {"viewer": {"id": "1", "entity": ENTITY, "username": ENTITY, "teams": {"edges": []}}},
            "RunResumeStatus": self._resume,
            "UpsertBucket": self._upsert,
            "CreateRunFiles": self._places,
            "CreateArtifact": lambda _: {
                "createArtifact": {"artifact": {"id": "a", "state": "PENDING", "artifactSequence": {"id": "s"}}}
            },
            "CreateArtifactManifest": self._manifest,
            "UpdateArtifactManifest": self._manifest,
            "CreateArtifactFiles": self._artifact_files,
            "CommitArtifact": lambda _: {"commitArtifact": {"artifact": {"id": "a", "digest": "d"}}},
        }
        return answers[name](variables) if name in answers else {"project": None}

    def _bucket(self, run: str) -> dict[str, Any]:
        rows = self.rows.get(run, [])
        project = {"id": "p", "name": "sparsity", "entity": {"id": "e", "name": ENTITY}}
        return {
            "id": run,
            "name": run,
            "displayName": run,
            "config": json.dumps(self.configs.get(run, {})),
            "project": project,
            "historyLineCount": len(rows),
            "eventsLineCount": 0,
            "logLineCount": 0,
            "historyTail": json.dumps([json.dumps(rows[-1])] if rows else []),
            "eventsTail": "[]",
            "summaryMetrics": json.dumps(rows[-1] if rows else {}),
            "tags": [],
            "wandbConfig": json.dumps({"t": {}}),
        }

    def _resume(self, variables: dict[str, Any]) -> Any:
        run = variables["name"]
        entity = {"id": "e", "name": ENTITY}
        known = self._bucket(run) if run in self.rows else None
        return {"model": {"id": "p", "name": "sparsity", "entity": entity, "bucket": known}}

    def _upsert(self, variables: dict[str, Any]) -> Any:
        run = variables.get("name") or variables["id"]
        inserted = run not in self.rows
        self.rows.setdefault(run, [])
        if variables.get("config"):
            self.configs[run] = json.loads(variables["config"])
        return {"upsertBucket": {"bucket": self._bucket(run), "inserted": inserted}}

    def _places(self, variables: dict[str, Any]) -> Any:
        files = [{"name": name, "uploadUrl": f"{self.address}/put/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}

    def _manifest(self, _: dict[str, Any]) -> Any:
        file = {"id": "f", "uploadUrl": f"{self.address}/put/manifest.json", "uploadHeaders": []}
        manifest = {"artifactManifest": {"id": "m", "file": file}}
        return {"createArtifactManifest": manifest, "updateArtifactManifest": manifest}

    def _artifact_files(self, variables: dict[str, Any]) -> Any:
        files = variables["input"]["artifactFiles"]
        node: dict[str, Any] = {"uploadHeaders": [], "uploadMultipartUrls": None, "artifact": {"id": "a"}}
        edges = [
            {"node": node | {"storagePath": file["name"], "uploadUrl": f"{self.address}/put/{file['name']}"}}
            for file in files
        ]
        return {"createArtifactFiles": {"files": {"edges": edges}}}


@contextmanager
def ingest() -> Iterator[Ingest]:
    """The stand-in, listening on a port of its own at `address`."""
    service, errors = Ingest(), list[BaseException | None]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

        def do_PUT(self) -> None:
            self._read()
            service.files.append(self.path.removeprefix("/put/"))
            self._reply({})

        def do_GET(self) -> None:
            self._reply({})

        def do_POST(self) -> None:
            body = json.loads(self._read() or "{}")
            with service.lock:
                service.paths.add(self.path.rpartition("/")[2])
                reply, status = None, 404
                if service.is_out or (service.refuses_rows and self.path != "/graphql"):
                    status = 503 if service.is_out else 403
                elif self.path == "/graphql":
                    status, reply = 200, {"data": service.answer(body["query"], body.get("variables") or {})}
                elif self.path.endswith("/file_stream"):
                    service.stream(self.path.split("/")[-2], body)
                    status, reply = 200, {"limits": {}}
            self._reply(reply, status)

        def _read(self) -> bytes:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

        def _reply(self, value: Any, status: int = 200) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            error = sys.exc_info()[1]
            if not isinstance(error, ConnectionError):  # a service that is ended leaves connections behind
                errors.append(error)

    with Server(("127.0.0.1", 0), Handler) as server:
        service.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield service
        server.shutdown()
        thread.join()
    assert errors == []
