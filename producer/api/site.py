"""The page at ``/``: its files, as they lie in producer/api/page/, and the headers that let it do no more than it does.

The files are read once, at start, so what is not among them cannot be asked for. The page needs no key; what it asks
the API for does.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response

from producer.api.answers import is_known
from producer.api.problem import ProblemError
from producer.api.services import Parts
from producer.seeds import shorten

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parent / "page"
INDEX = "index.html"
ASSETS = "assets"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
"""By the end of the name, whatever the machine's own tables say: a browser runs no script of another type."""

GZIP = re.compile(r"(?:^|[\s,])gzip(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))\s*(?=[,;]|$)", re.IGNORECASE)
"""``Accept-Encoding`` of who can unpack gzip (RFC 9110, 12.5.3)."""

PACKED_ALREADY = frozenset({".woff2"})

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "font-src": "'self'",
    "img-src": "'self' blob: data:",
    "connect-src": "'self'",
    "manifest-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
"""Content-Security-Policy of the page; pictures come from the object store as well."""

HEADERS = {
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page as it is sent; ``etag`` changes with its bytes, ``packed`` are these by gzip, for texts."""

    content: bytes
    media_type: str
    etag: str
    packed: bytes | None


def read_files(folder: Path = FOLDER) -> dict[str, PageFile]:
    """Return what there is of the page, by its path below ``folder``."""
    paths = (folder / INDEX, *(folder / ASSETS).rglob("*.*"))
    known = (path for path in paths if path.suffix in MEDIA_TYPES)  # what editors leave beside them is no part of it
    return {path.relative_to(folder).as_posix(): _read(path) for path in known}


def _read(path: Path) -> PageFile:
    content = path.read_bytes()
    packed = None if path.suffix in PACKED_ALREADY else gzip.compress(content, mtime=0)
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return PageFile(content, MEDIA_TYPES[path.suffix], etag, packed)


def policy(picture_origin: str) -> str:
    """Return the Content-Security-Policy of a page whose pictures come from there; "" for none."""
    found = {**POLICY, "img-src": f"{POLICY['img-src']} {picture_origin}".rstrip()}
    return "; ".join(f"{name} {values}" for name, values in found.items())


FILES: Mapping[str, PageFile] = read_files()


@router.get("/")
@router.head("/")
async def get_page(request: Request, parts: Parts) -> Response:
    """Answer with the page."""
    return _answer(request, FILES[INDEX], parts.bucket.origin)


@router.get("/assets/{name:path}")
@router.head("/assets/{name:path}")
async def get_asset(name: str, request: Request, parts: Parts) -> Response:
    """Answer with a part of the page."""
    found = FILES.get(f"{ASSETS}/{name}")
    if found is None:
        raise ProblemError("not-found", f"the page has no part {shorten(name)}")
    return _answer(request, found, parts.bucket.origin)


def _answer(request: Request, file: PageFile, picture_origin: str) -> Response:
    headers = {**HEADERS, "Content-Security-Policy": policy(picture_origin), "ETag": f"W/{file.etag}"}
    if file.packed is not None:
        headers["Vary"] = "Accept-Encoding"
    if is_known(request, file.etag):
        return Response(status_code=304, headers=headers)
    if file.packed is not None and GZIP.search(request.headers.get("accept-encoding", "")):
        return Response(file.packed, 200, {**headers, "Content-Encoding": "gzip"}, file.media_type)
    return Response(file.content, 200, headers, file.media_type)
