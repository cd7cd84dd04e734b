"""A bucket in memory, behind the part of S3's HTTP interface that lamina uses.

Requests for the data of layers can be held, refused, answered with wrong bytes, or not answered.
"""

from __future__ import annotations

import hashlib
import threading
import urllib.parse
from email.utils import formatdate
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.sax.saxutils import escape

LAYERS = "/v1/layers/"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


class Mood(Enum):
    """What becomes of requests."""

    GOOD = auto()
    HOLDS = auto()    # data of layers: held until the mood changes
    FAILS = auto()    # data of layers: 503
    DAMAGES = auto()  # data of layers: one bit is wrong
    LOST = auto()     # layers: 404
    LATE = auto()     # data of layers: held until some range is asked for a second time
    AWAY = auto()     # everything: the connection is closed


class BucketServer:
    """Listens from the beginning on; the URL has its port."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.replacements: dict[str, bytes] = {}  # what a key has after it was looked at
        self.hidden: set[str] = set()  # listed, and 404 for GET and HEAD
        # Multipart uploads that were begun elsewhere: when, by key and id; "": not said.
        self.uploads: dict[tuple[str, str], str] = {}
        self.uploads_in_page = 1000
        self.modified = "2026-01-01T00:00:00.000Z"  # of all objects, as lists say
        self.lists_uploads = True
        self.aborts_uploads = True
        self.layer_reads = 0  # answered with data
        self.reads_left: int | None = None  # then the mood becomes HOLDS
        self.requests: list[tuple[str, str]] = []  # methods and keys, as they arrived
        self._mood = Mood.GOOD
        self._asked: set[tuple[str, str]] = set()
        self._changed = threading.Condition()
        bucket = self

        class Handler(_Handler):
            """With this bucket."""

            server_bucket = bucket

        class Server(ThreadingHTTPServer):
            """A client that has gone is no failure."""

            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Says nothing."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        """For lamina."""
        port = self._server.server_address[1]
        return f"s3://bucket/lazy?endpoint=http://127.0.0.1:{port}&region=us-east-1"

    def close(self) -> None:
        """Lets everything go, and ends."""
        self.mood = Mood.AWAY
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def mood(self) -> Mood:
        """How requests are answered."""
        return self._mood

    @mood.setter
    def mood(self, mood: Mood) -> None:
        with self._changed:
            self._mood = mood
            self.reads_left = None
            self._changed.notify_all()

    def hold_after(self, reads: int) -> None:
        """Lets so many reads of layers pass, then holds."""
        with self._changed:
            self._mood = Mood.GOOD if reads > 0 else Mood.HOLDS
            self.reads_left = reads
            self._changed.notify_all()

    def wait_for_repetition(self, key: str, wanted: str) -> None:
        """While the mood is LATE, a range of a layer that nobody has asked for before."""
        if LAYERS not in key:
            return
        with self._changed:
            if self._mood == Mood.LATE and (key, wanted) in self._asked:
                self._mood = Mood.GOOD
                self._changed.notify_all()
            self._asked.add((key, wanted))
            while self._mood == Mood.LATE:
                self._changed.wait()

    def mood_of(self, key: str, is_read: bool) -> Mood:
        """How a request is answered now; waits while it is held."""
        if LAYERS not in key:
            return Mood.AWAY if self._mood == Mood.AWAY else Mood.GOOD
        with self._changed:
            while is_read and self._mood == Mood.HOLDS:
                self._changed.wait()
            if self._mood in (Mood.HOLDS, Mood.LATE):
                return Mood.GOOD
            if not is_read and self._mood in (Mood.FAILS, Mood.DAMAGES):
                return Mood.GOOD
            if is_read and self._mood == Mood.GOOD:
                self.layer_reads += 1
                if self.reads_left is not None:
                    self.reads_left -= 1
                    if self.reads_left == 0:
                        self._mood = Mood.HOLDS
            return self._mood

    def keys(self, part: str) -> list[str]:
        """The keys with that part."""
        return sorted(key for key in list(self.objects) if part in key)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_bucket: BucketServer

    def log_message(self, format: str, *args: Any) -> None:  # pylint: disable=redefined-builtin
        """Says nothing."""

    def parse_request(self) -> bool:
        """Counts it."""
        is_good = super().parse_request()
        if is_good:
            self.server_bucket.requests.append((self.command, self._parts()[0]))
        return is_good

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None,
                size: int | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if size is None else size))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code></Error>".encode(),
                     {"Content-Type": "application/xml"})

    def _parts(self) -> tuple[str, dict[str, str]]:
        path, _, query = self.path.partition("?")
        return (urllib.parse.unquote(path),
                dict(urllib.parse.parse_qsl(query, keep_blank_values=True)))

    def _is_away(self, key: str, is_read: bool) -> Mood | None:
        """The mood; None: nothing is answered."""
        mood = self.server_bucket.mood_of(key, is_read)
        if mood != Mood.AWAY:
            return mood
        self.close_connection = True
        return None

    def do_GET(self) -> None:  # pylint: disable=invalid-name
        """An object, a part of one, or a list."""
        key, query = self._parts()
        if "list-type" in query:
            self._list(key, query)
            return
        if "uploads" in query:
            self._list_uploads(key, query)
            return
        self.server_bucket.wait_for_repetition(key, self.headers.get("Range", ""))
        mood = self._is_away(key, True)
        if mood is None:
            return
        if mood == Mood.FAILS:
            self._refuse(503, "SlowDown")
            return
        self._object(key, mood)

    def do_HEAD(self) -> None:  # pylint: disable=invalid-name
        """An object's size."""
        key, _ = self._parts()
        mood = self._is_away(key, False)
        if mood is not None:
            self._object(key, mood)
            new = self.server_bucket.replacements.pop(key, None)
            if new is not None:
                self.server_bucket.objects[key] = new

    def _object(self, key: str, mood: Mood) -> None:
        data = self.server_bucket.objects.get(key)
        is_lost = (mood == Mood.LOST and LAYERS in key) or key in self.server_bucket.hidden
        if data is None or is_lost:
            self._refuse(404, "NoSuchKey")
            return
        headers = {"ETag": f'"{hashlib.md5(data).hexdigest()}"',
                   "Last-Modified": formatdate(0, usegmt=True)}
        wanted = self.headers.get("Range")
        status = 200
        if wanted is not None and self.command == "GET":
            first, last = (int(one) for one in wanted.removeprefix("bytes=").split("-"))
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            data = data[first:last + 1]
            status = 206
        if mood == Mood.DAMAGES:
            data = bytes([data[0] ^ 1]) + data[1:]
        self._answer(status, data, headers, len(data))

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        top = bucket.rstrip("/") + "/"
        prefix = top + query.get("prefix", "")
        if self._is_away("", False) is None:
            return
        lost = self.server_bucket.mood == Mood.LOST
        start = len(top)
        after = query.get("start-after", "")
        names = [key[start:] for key in sorted(self.server_bucket.objects)
                 if key.startswith(prefix) and key[start:] > after and not (lost and LAYERS in key)]
        most = int(query.get("max-keys", "1000"))
        entries = "".join(
            f"<Contents><Key>{escape(name)}</Key>"
            f"<LastModified>{self.server_bucket.modified}</LastModified>"
            f"<Size>{len(self.server_bucket.objects[top + name])}</Size></Contents>"
            for name in names[:most])
        more = "true" if len(names) > most else "false"
        self._answer(200, (f"<ListBucketResult><IsTruncated>{more}</IsTruncated>{entries}"
                           "</ListBucketResult>").encode(), {"Content-Type": "application/xml"})

    def _list_uploads(self, bucket: str, query: dict[str, str]) -> None:
        server = self.server_bucket
        if not server.lists_uploads:
            self._refuse(501, "NotImplemented")
            return
        top = bucket.rstrip("/") + "/"
        after = (top + query.get("key-marker", ""), query.get("upload-id-marker", ""))
        found = [one for one in sorted(server.uploads)
                 if one[0].startswith(top + query.get("prefix", "")) and one > after]
        most = min(server.uploads_in_page, int(query.get("max-uploads", "1000")))
        entries = "".join(
            f"<Upload><Key>{urllib.parse.quote(key[len(top):])}</Key><UploadId>{upload}</UploadId>"
            + (f"<Initiated>{begun}</Initiated>" if (begun := server.uploads[key, upload]) else "")
            + "</Upload>" for key, upload in found[:most])
        more = ""
        if len(found) > most:
            key, upload = found[most - 1]
            more = (f"<NextKeyMarker>{urllib.parse.quote(key[len(top):])}</NextKeyMarker>"
                    f"<NextUploadIdMarker>{upload}</NextUploadIdMarker>")
        self._answer(200, ("<ListMultipartUploadsResult><EncodingType>url</EncodingType>"
                           f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{more}"
                           f"{entries}</ListMultipartUploadsResult>").encode(),
                     {"Content-Type": "application/xml"})

    def do_PUT(self) -> None:  # pylint: disable=invalid-name
        """Stores an object."""
        key, _ = self._parts()
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self._is_away(key, False) is None:
            return
        if self.headers.get("If-None-Match") == "*" and key in self.server_bucket.objects:
            self._refuse(412, "PreconditionFailed")
            return
        self.server_bucket.objects[key] = body
        self._answer(200, b"", {"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

    def do_DELETE(self) -> None:  # pylint: disable=invalid-name
        """Removes an object, or an upload."""
        key, query = self._parts()
        if self._is_away(key, False) is None:
            return
        if "uploadId" in query:
            if not self.server_bucket.aborts_uploads:
                self._refuse(403, "AccessDenied")
            elif self.server_bucket.uploads.pop((key, query["uploadId"]), None) is None:
                self._refuse(404, "NoSuchUpload")
            else:
                self._answer(204)
            return
        self.server_bucket.objects.pop(key, None)
        self._answer(204)
