"""An S3 server that enforces a policy file: each request is parsed into action, resource and prefix before it goes on.

It stands in front of a real server that knows no policies. As AWS does, it tells that an object is missing only to who
may list the bucket whatever the prefix; to others the object is denied.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

HOP_BY_HOP = {"connection", "expect", "keep-alive", "transfer-encoding"}
REFUSAL = "<Error><Code>{}</Code><Message>{}</Message></Error>"
BUCKET_ACTIONS = {"GET": "ListBucket", "HEAD": "ListBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}
OBJECT_ACTIONS = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "POST": "PutObject"}
SUBRESOURCES = {"acl", "location", "policy", "tagging", "versioning", "versions", "lifecycle", "encryption"}


class Policy:
    """Statements of an IAM policy, as far as ours use them; anything else in it is refused.

    Args:
        path: the policy's file.
    """

    def __init__(self, path: Path) -> None:
        document = json.loads(path.read_text(encoding="utf-8"))
        assert set(document) == {"Version", "Statement"}
        assert document["Version"] == "2012-10-17"
        self.statements = document["Statement"]
        for statement in self.statements:
            assert statement["Effect"] == "Allow"
            assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
            assert set(statement.get("Condition", {})) <= {"StringLike"}
            assert set(statement.get("Condition", {}).get("StringLike", {})) <= {"s3:prefix"}

    def allows(self, action: str, resource: str, prefix: str | None) -> bool:
        """Return whether it allows this; ``prefix`` is what a listing is limited to, ``None`` where none is said."""
        for statement in self.statements:
            wanted = statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix")
            if (
                _is_like(action, statement["Action"])
                and _is_like(resource, statement["Resource"])
                and (wanted is None or (prefix is not None and _is_like(prefix, wanted)))
            ):
                return True
        return False


def _is_like(value: str, patterns: str | list[str]) -> bool:
    """Return whether a value matches one of the patterns, in which ``*`` and ``?`` stand for anything."""
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), value, re.DOTALL):
            return True
    return False


class Policed(ThreadingHTTPServer):
    """The server; ``denied`` and ``hidden`` are what it refused, ``seen`` all actions that were asked for.

    Objects with ``sick`` in their key are answered with 503 when they are written.
    """

    daemon_threads = True

    def __init__(self, policy: Policy, target: int) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.policy = policy
        self.target = target
        self.denied: list[str] = []
        self.hidden: list[str] = []
        self.seen: set[str] = set()
        self.sick = "\0"

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"


class Visit(BaseHTTPRequestHandler):
    """One connection."""

    server: Policed
    protocol_version = "HTTP/1.1"

    def serve(self) -> None:
        """Judge a request and send it on; one that is broken off is let go of."""
        length = int(self.headers.get("content-length", 0))
        if len(body := self.rfile.read(length)) < length:
            self.close_connection = True
            return None
        address = urlsplit(self.path)
        bucket, _, key = unquote(address.path).removeprefix("/").partition("/")
        query = parse_qs(address.query, keep_blank_values=True)
        action, resource = _action(self.command, key, query), f"arn:aws:s3:::{bucket}" + (f"/{key}" if key else "")
        prefix = None if key else query.get("prefix", [None])[0]
        what = f"{action} on {resource}" + ("" if prefix is None else f" with prefix {prefix!r}")
        self.server.seen.add(action)
        if not self.server.policy.allows(action, resource, prefix):
            self.server.denied.append(what)
            return self.refuse(403, "AccessDenied")
        if action == "s3:PutObject" and self.server.sick in key:
            return self.refuse(503, "ServiceUnavailable")
        status, headers, answer = self.forward(body)
        lists_all = self.server.policy.allows("s3:ListBucket", f"arn:aws:s3:::{bucket}", None)
        if status == 404 and action == "s3:GetObject" and not lists_all:
            self.server.hidden.append(what)
            return self.refuse(403, "AccessDenied")
        return self.answer(status, headers, answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = serve  # noqa: N815  # as the library has them

    def forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send a request on with the host that was signed for; returns what the server says."""
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=30)
        try:
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            answer = response.read()
            kept = {name: value for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP}
        finally:
            connection.close()
        return response.status, kept, answer

    def refuse(self, status: int, code: str) -> None:
        """Answer as S3 does; a HEAD gets no text."""
        text = REFUSAL.format(code, "the stand-in says so").encode()
        self.answer(status, {"Content-Length": str(len(text))}, b"" if self.command == "HEAD" else text)

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Send an answer."""
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "content-length" not in {name.lower() for name in headers}:
            self.send_header("Content-Length", str(len(body)))
        with suppress(ConnectionError):  # a client may break off
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _action(method: str, key: str, query: dict[str, list[str]]) -> str:
    """Return the action of IAM that a request takes."""
    if unknown := SUBRESOURCES & query.keys():
        return f"s3:{method} of {', '.join(unknown)}"
    if method == "DELETE" and key:
        return "s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject"
    return f"s3:{(OBJECT_ACTIONS if key else BUCKET_ACTIONS).get(method, method)}"


@contextmanager
def policed(policy: Policy, target: int) -> Iterator[Policed]:
    """Yield the server that enforces a policy in front of a port of 127.0.0.1."""
    with Policed(policy, target) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
