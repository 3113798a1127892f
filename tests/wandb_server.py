"""A W&B server small enough to read: what the real client asks for to write runs, and to read them back."""

import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ABSENT = ("sweepName", "group", "jobType", "commit", "description", "notes", "heartbeatAt")
VIEWER = {"id": "u", "entity": "team", "username": "u", "email": "", "flags": "{}", "teams": {"edges": []}}

UNSAID = ("versionIndex", "description", "metadata", "historyStep", "commitHash", "updatedAt")
ARTIFACT = dict.fromkeys(UNSAID) | {"__typename": "Artifact", "artifactType": {"name": "report"}, "tags": []}
ARTIFACT |= {"ttlDurationSeconds": 0, "ttlIsInherited": False, "createdAt": "", "size": 1, "fileCount": 1}


def logged(run: str, *, state: str, config: dict, summary: dict, history: list[dict], tags=()) -> dict:
    """One run as the server's GraphQL tells it; its history is numbered by `_step`."""
    return dict.fromkeys(ABSENT) | {
        "id": f"id-{run}",
        "projectId": "1",
        "name": run,
        "displayName": f"name of {run}",
        "state": state,
        "tags": list(tags),
        "config": json.dumps({key: {"value": value} for key, value in config.items()}),
        "summaryMetrics": json.dumps(summary),
        "systemMetrics": "{}",
        "readOnly": False,
        "createdAt": "2026-01-01T00:00:00Z",
        "user": {"name": "u", "username": "u"},
        "steps": [{"_step": k} | row for k, row in enumerate(history)],
    }


class Server:
    """Projects ("team/project") and their runs. It can be stopped and started again, at the same address and
    with what it has been told; `page` runs are listed at a time."""

    def __init__(self, projects: dict[str, list[dict]] | None = None, page: int = 2) -> None:
        self.projects = defaultdict(list, projects or {})
        self.page, self.port = page, 0
        self.files: dict[str, bytes] = {}
        self.artifacts: dict[str, dict] = {}
        """By digest, so that the same content is there once; `files` has theirs by digest and name."""
        self.dies_at: Callable[[dict], bool] = lambda told: False
        """Whether this message of a run, unanswered, is the last that the server hears."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    up = False

    def start(self) -> None:
        self.http = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self.port = self.http.server_port
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,))
        self.thread.start()
        self.up = True

    def stop(self) -> None:
        if not self.up:
            return
        self.up = False
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def run(self, project: str, name: str) -> dict | None:
        return next((run for run in self.projects[project] if run["name"] == name), None)

    def answer(self, operation: str, given: dict) -> dict:
        project = f"{given.get('entity') or given.get('entityName') or 'team'}/{given.get('project')}"
        if operation in ("Viewer", "GetDefaultEntity"):
            return {"viewer": VIEWER}
        if operation == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        if operation == "RunResumeStatus":
            return {"model": _project(project) | {"bucket": _resumed(self.run(project, given["name"]))}}
        if operation == "UpsertBucket":
            return {"upsertBucket": self._upsert(project, given)}
        if operation == "CreateRunFiles":
            urls = [{"name": name, "uploadUrl": f"{self.address}/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": urls}}
        if "Artifact" in operation:
            return self._artifact(operation, given)
        if project not in self.projects:
            return {"project": None}
        if operation == "Runs":
            return {"project": self._listing(self.projects[project], given)}
        (name,) = {given.get(key) for key in ("run", "name", "runName")} - {None}
        run = self.run(project, name)
        return {"project": {"run": run and _read(operation, run, given)}}

    def _upsert(self, project: str, given: dict) -> dict:
        run = self.run(project, given["name"])
        inserted = run is None
        if run is None:
            run = logged(given["name"], state="running", config={}, summary={}, history=[])
            self.projects[project].append(run)
        said = {"group": "groupName", "jobType": "jobType", "tags": "tags", "config": "config"}
        said |= {"displayName": "displayName"}
        run |= {key: given[name] for key, name in said.items() if given[name] is not None}
        bucket = run | {"project": _project(project), "historyLineCount": len(run["steps"])}
        return {"bucket": bucket, "inserted": inserted}

    def _artifact(self, operation: str, given: dict) -> dict:
        if operation == "ArtifactType":
            return {"project": {"artifact": None}}
        if operation == "ArtifactByID":
            return {"artifact": ARTIFACT | self.artifacts[given["id"]]}
        given = given.get("input", given)
        if operation == "CreateArtifact":
            sequence = {"latestArtifact": None, "name": given["artifactCollectionName"], "project": None}
            told = {"id": given["digest"], "digest": given["digest"], "artifactSequence": sequence}
            made = self.artifacts.setdefault(given["digest"], told | {"state": "PENDING"})
            return {"createArtifact": {"artifact": made}}
        if operation == "CommitArtifact":
            made = self.artifacts[given["artifactID"]]
            made["state"] = "COMMITTED"
            return {"commitArtifact": {"artifact": made}}
        if operation == "CreateArtifactFiles":
            files = [self._upload(file["artifactID"], file["name"]) for file in given["artifactFiles"]]
            return {"createArtifactFiles": {"files": {"edges": [{"node": file} for file in files]}}}
        assert operation in ("CreateArtifactManifest", "UpdateArtifactManifest"), operation
        file = self._upload(given["artifactID"], given["name"]) if "name" in given else None
        answered = operation[0].lower() + operation[1:]
        return {answered: {"artifactManifest": {"id": "m", "file": file}}}

    def _upload(self, artifact: str, name: str) -> dict:
        path = f"/{artifact}/{name}"
        to = {"uploadUrl": self.address + path, "uploadHeaders": [], "uploadMultipartUrls": None}
        return to | {"id": name, "storagePath": path, "artifact": {"id": artifact}}

    def _listing(self, runs: list[dict], given: dict) -> dict:
        first = int(given["cursor"] or 0)
        last = first + self.page
        edges = [{"node": _whole(run), "cursor": str(k + 1)} for k, run in enumerate(runs)][first:last]
        more = {"endCursor": str(last), "hasNextPage": last < len(runs)}
        about = {"internalId": "1", "runCount": len(runs), "readOnly": False}
        return about | {"runs": {"edges": edges, "pageInfo": more}}

    def stream(self, path: str, told: dict) -> None:
        """What a run's client sends while it runs: lines of its files, and how it ended."""
        _, _, entity, project, name, _ = path.split("/")
        run = self.run(f"{entity}/{project}", name)
        assert run is not None
        for file, chunk in told.get("files", {}).items():
            lines = [json.loads(line) for line in chunk["content"]]
            if file == "wandb-history.jsonl":
                run["steps"][chunk["offset"] : chunk["offset"] + len(lines)] = lines
            elif file == "wandb-summary.json":
                run["summaryMetrics"] = json.dumps(lines[-1])
        if told.get("complete"):
            run["state"] = "failed" if told["exitcode"] else "finished"


def _project(path: str) -> dict:
    entity, name = path.split("/")
    return {"id": "1", "name": name, "entity": {"id": "e", "name": entity}}


def _whole(run: dict) -> dict:
    steps = run["steps"]
    keys = {key: {"typeCounts": [{"type": "number", "count": len(steps)}]} for row in steps for key in row}
    history = {"keys": keys, "sets": [], "lastStep": len(steps) - 1}
    return run | {"historyLineCount": len(steps), "historyKeys": history}


def _resumed(run: dict | None) -> dict | None:
    if run is None:
        return None
    tail = json.dumps([json.dumps(row) for row in run["steps"][-1:]])
    counts = {"historyLineCount": len(run["steps"]), "eventsLineCount": 0, "logLineCount": 0}
    return run | counts | {"historyTail": tail, "eventsTail": "[]", "wandbConfig": json.dumps({"t": {}})}


def _read(operation: str, run: dict, given: dict) -> dict:
    run, steps = _whole(run), run["steps"]
    if operation == "Run":
        return run
    if operation == "RunHistoryKeys":
        return {"historyKeys": run["historyKeys"]}
    if operation == "RunParquetHistory":
        # Nothing exported yet: the client then reads the live rows page by page.
        return {"parquetHistory": {"parquetUrls": [], "liveData": steps[:1]}}
    if operation == "HistoryPage":
        return {"history": [json.dumps(row) for row in steps[given.get("minStep") : given.get("maxStep")]]}
    assert operation == "SampledHistoryPage", operation
    spec = json.loads(given["spec"])
    page = steps[spec["minStep"] : spec["maxStep"] + 1]
    return {"sampledHistory": [[row for row in page if spec["keys"] and row.keys() >= set(spec["keys"])]]}


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self._body()
            if self.path == "/graphql":
                asked = json.loads(body)
                operation = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
                assert operation is not None
                self._send({"data": server.answer(operation[1], asked.get("variables") or {})})
            else:
                if self.path.endswith("/file_stream"):
                    told = json.loads(body)
                    if server.dies_at(told):
                        threading.Thread(target=server.stop).start()  # not from within a request
                        return
                    server.stream(self.path, told)
                self._send({})

        def do_PUT(self):
            server.files[self.path] = self._body()
            self._send({})

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers["Content-Length"]))

        def _send(self, content: dict):
            sent = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_):
            pass

    return Handler


@contextmanager
def serving(projects: dict[str, list[dict]] | None = None, page: int = 2):
    """A Server that is up."""
    server = Server(projects, page)
    server.start()
    try:
        yield server
    finally:
        server.stop()
