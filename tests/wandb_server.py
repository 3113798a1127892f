"""A W&B server small enough to read: what the real client asks for to list a project's runs and history."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def logged(run: str, *, state: str, config: dict, summary: dict, history: list[dict], tags=()) -> dict:
    """One run as the server's GraphQL tells it; its history is numbered by `_step`."""
    steps = [{"_step": k} | row for k, row in enumerate(history)]
    keys = {key: {"typeCounts": [{"type": "number", "count": len(steps)}]} for row in steps for key in row}
    absent = ("sweepName", "group", "jobType", "commit", "description", "notes", "heartbeatAt")
    return dict.fromkeys(absent) | {
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
        "historyLineCount": len(steps),
        "historyKeys": {"keys": keys, "sets": [], "lastStep": len(steps) - 1},
        "steps": steps,
    }


@contextmanager
def serving(projects: dict[str, list[dict]], page: int = 2) -> Iterator[str]:
    """The address of a server of these projects ("entity/project"), `page` runs at a time."""

    def answer(operation: str, given: dict) -> dict:
        if operation in ("Viewer", "GetDefaultEntity"):
            viewer = {"id": "u", "entity": "team", "username": "u", "email": "", "flags": "{}"}
            return {"viewer": viewer | {"teams": {"edges": []}}}
        runs = projects.get(f"{given['entity']}/{given['project']}")
        if runs is None:
            return {"project": None}
        if operation == "Runs":
            first = int(given["cursor"] or 0)
            edges = [{"node": run, "cursor": str(k + 1)} for k, run in enumerate(runs)][first : first + page]
            more = {"endCursor": str(first + page), "hasNextPage": first + page < len(runs)}
            listing = {"edges": edges, "pageInfo": more}
            about = {"internalId": "1", "runCount": len(runs), "readOnly": False}
            return {"project": about | {"runs": listing}}
        (name,) = {given.get(key) for key in ("run", "name", "runName")} - {None}
        (run,) = [run for run in runs if run["name"] == name]
        steps = run["steps"]
        told = {
            "RunHistoryKeys": {"historyKeys": run["historyKeys"]},
            # Nothing exported yet: the client then reads the live rows page by page.
            "RunParquetHistory": {"parquetHistory": {"parquetUrls": [], "liveData": steps[:1]}},
            "HistoryPage": {
                "history": [json.dumps(row) for row in steps[given.get("minStep") : given.get("maxStep")]]
            },
        }
        return {"project": {"run": told[operation]}}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path != "/graphql":  # the client's telemetry
                return self._send(b"")
            asked = json.loads(body)
            operation = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
            assert operation is not None
            content = answer(operation[1], asked.get("variables") or {})
            return self._send(json.dumps({"data": content}).encode())

        def _send(self, content: bytes):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
