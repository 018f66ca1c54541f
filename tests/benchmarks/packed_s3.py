"""An S3 server that keeps all objects in one file, for runs whose millions of files would measure the file system.

``python -m tests.benchmarks.packed_s3 --folder FOLDER --port PORT`` puts each object at the end of ``FOLDER/objects``,
after a line with its key and length, and remembers where: twelve bytes of memory for one that is named after a seed. It
speaks as much of S3 as a worker does: PUT, GET, HEAD, uploads in parts, and the list of one key. There is one bucket;
signatures are not checked. A server that was killed finds in the file what it had, but for uploads in parts.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

FILE = "objects"
SEED = re.compile(r"(.*/seed_)(\d{10})(\.png|\.json)")
MOST_SEEDS = 1 << 22
"""Seeds from here on are remembered one by one, as other keys are."""
PIECE = 1 << 20
"""Bytes of an object that are sent at a time."""
LISTING = "<ListBucketResult><KeyCount>{}</KeyCount>{}</ListBucketResult>"
ENTRY = "<Contents><Key>{}</Key></Contents>"
MISSING = "<Error><Code>NoSuchKey</Code><Message>no such object</Message></Error>"
BEGUN = "<InitiateMultipartUploadResult><UploadId>{}</UploadId></InitiateMultipartUploadResult>"
COMPLETED = '<CompleteMultipartUploadResult><ETag>"-"</ETag></CompleteMultipartUploadResult>'
STATES = {200: "OK", 404: "Not Found", 501: "Not Implemented"}


class Extent(NamedTuple):
    """A part of the file."""

    offset: int
    length: int


class Seeds:
    """Where the objects of seeds are that are named alike."""

    def __init__(self) -> None:
        self._offsets, self._lengths = array("q"), array("i")

    def put(self, seed: int, extent: Extent) -> None:
        """Note where the object of a seed is."""
        if (lacking := seed + 1 - len(self._offsets)) > 0:
            self._offsets.extend(array("q", [0]) * lacking)
            self._lengths.extend(array("i", [-1]) * lacking)
        self._offsets[seed], self._lengths[seed] = extent

    def get(self, seed: int) -> Extent | None:
        """Return where it is."""
        if seed >= len(self._offsets) or self._lengths[seed] < 0:
            return None
        return Extent(self._offsets[seed], self._lengths[seed])


class Pack:
    """The objects in their file."""

    def __init__(self, file: Path) -> None:
        self._seeds: dict[str, Seeds] = {}
        self._others: dict[str, list[Extent]] = {}
        self._end = self._find_again(file) if file.exists() else 0
        self._file = file.open("a+b", buffering=0)
        self._file.truncate(self._end)

    def _find_again(self, file: Path) -> int:
        """Note where the objects of a file are; returns where the last whole one ends."""
        size, end = file.stat().st_size, 0
        with file.open("rb") as objects:
            while (head := objects.readline()).endswith(b"\n"):
                key, _, length = head.decode().rstrip().rpartition(" ")
                extent = Extent(end + len(head), int(length))
                if extent.offset + extent.length > size:
                    break
                self._note(key, extent)
                end = objects.seek(extent.offset + extent.length)
        return end

    def put(self, key: str, body: bytes) -> None:
        """Write an object."""
        self._note(key, self.append(key, body))

    def _note(self, key: str, extent: Extent) -> None:
        match = SEED.fullmatch(key)
        if match and int(match[2]) < MOST_SEEDS:
            self._seeds.setdefault(match[1] + match[3], Seeds()).put(int(match[2]), extent)
        else:
            self._others[key] = [extent]

    def append(self, key: str, body: bytes) -> Extent:
        """Write bytes at the end, which no key leads to."""
        head = f"{key} {len(body)}\n".encode()
        self._file.write(head + body)
        extent = Extent(self._end + len(head), len(body))
        self._end = extent.offset + extent.length
        return extent

    def join(self, key: str, parts: list[Extent]) -> None:
        """Make an object of parts that have been written."""
        self._others[key] = parts

    def find(self, key: str) -> list[Extent] | None:
        """Return where an object is, ``None`` if there is none."""
        match = SEED.fullmatch(key)
        if match and int(match[2]) < MOST_SEEDS:
            seeds = self._seeds.get(match[1] + match[3])
            extent = seeds.get(int(match[2])) if seeds else None
            return [extent] if extent else None
        return self._others.get(key)

    def read(self, extents: list[Extent]) -> Iterator[bytes]:
        """Yield what is there, piece by piece."""
        for extent in extents:
            for start in range(0, extent.length, PIECE):
                self._file.seek(extent.offset + start)
                yield self._file.read(min(PIECE, extent.length - start))


class Request(NamedTuple):
    """What a client wants."""

    method: str
    key: str
    query: dict[str, list[str]]
    body: bytes


class S3:
    """Answers requests from a pack."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack
        self._uploads: dict[str, dict[int, Extent]] = {}
        self._begun = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until it ends."""
        try:
            while request := await _read(reader, writer):
                await self._answer(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError):  # as of a worker that was killed
            pass
        finally:
            writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        method, key, query, body = request
        if method == "PUT" and "partNumber" in query:
            part = int(query["partNumber"][0])
            self._uploads[query["uploadId"][0]][part] = self._pack.append(f"{key}?part={part}", body)
            await _send(writer, 200)
        elif method == "PUT":
            self._pack.put(key, body)
            await _send(writer, 200)
        elif method == "POST" and "uploads" in query:
            self._begun += 1
            self._uploads[str(self._begun)] = {}
            await _send(writer, 200, BEGUN.format(self._begun).encode())
        elif method == "POST" and "uploadId" in query:
            parts = self._uploads.pop(query["uploadId"][0])
            self._pack.join(key, [parts[number] for number in sorted(parts)])
            await _send(writer, 200, COMPLETED.encode())
        elif method == "GET" and not key:
            await self._list(query.get("prefix", [""])[0], writer)
        elif method in ("GET", "HEAD"):
            await self._give(key, writer, whole=method == "GET")
        else:
            await _send(writer, 501)

    async def _list(self, key: str, writer: asyncio.StreamWriter) -> None:
        entry = ENTRY.format(key) if self._pack.find(key) else ""
        await _send(writer, 200, LISTING.format(int(bool(entry)), entry).encode())

    async def _give(self, key: str, writer: asyncio.StreamWriter, *, whole: bool) -> None:
        if (extents := self._pack.find(key)) is None:
            await _send(writer, 404, MISSING.encode() if whole else b"")
            return
        writer.write(_head(200, sum(extent.length for extent in extents)))
        for piece in self._pack.read(extents) if whole else ():
            writer.write(piece)
            await writer.drain()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """Return the next request of a connection, ``None`` if it has ended."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, target, _ = first.split(" ")
    url = urlsplit(target)
    _, _, key = unquote(url.path).lstrip("/").partition("/")  # what goes before is the bucket
    return Request(method, key, parse_qs(url.query, keep_blank_values=True), body)


def _head(status: int, length: int) -> bytes:
    return f'HTTP/1.1 {status} {STATES[status]}\r\nETag: "-"\r\nContent-Length: {length}\r\n\r\n'.encode()


async def _send(writer: asyncio.StreamWriter, status: int, body: bytes = b"") -> None:
    writer.write(_head(status, len(body)) + body)
    await writer.drain()


def stored(file: Path) -> Iterator[tuple[str, bytes]]:
    """Yield all objects of a server that has ended, in the order in which they were written, parts of uploads too."""
    with file.open("rb") as objects:
        while head := objects.readline():
            key, _, length = head.decode().rstrip().rpartition(" ")
            yield key, objects.read(int(length))


async def _serve(folder: Path, port: int) -> None:
    s3 = S3(Pack(folder / FILE))
    server = await asyncio.start_server(s3.serve, "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    asyncio.run(_serve(options.folder, options.port))


if __name__ == "__main__":
    main()
