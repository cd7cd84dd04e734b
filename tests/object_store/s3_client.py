"""A small S3 client of the tests' own: what a bucket has, without lamina's word for it."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import http.client
import ssl
import urllib.parse
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Listed:
    """An object in a list."""

    key: str
    size: int
    modified: str  # as the server writes it
    tag: str


class S3Error(Exception):
    """A request was refused."""


def quoted(text: str, safe: str = "") -> str:
    """As signatures want it: everything but letters, digits and -._~ is escaped."""
    return urllib.parse.quote(text, safe=safe + "-._~")


class S3Client:
    """One bucket on a server at 127.0.0.1. Not thread-safe."""

    def __init__(self, port: int, bucket: str, access_key: str, secret_key: str,
                 certificate: Path | None = None) -> None:
        self._host = f"127.0.0.1:{port}"
        self._bucket = bucket
        self._access_key, self._secret_key = access_key, secret_key
        if certificate is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        else:
            context = ssl.create_default_context(cafile=str(certificate))
            self._connection = http.client.HTTPSConnection("127.0.0.1", port, context=context,
                                                           timeout=TIMEOUT_S)

    def close(self) -> None:
        """Ends the connection; the next request makes another one."""
        self._connection.close()

    def request(self, method: str, key: str = "", query: dict[str, str] | None = None,
                body: bytes = b"", more_headers: dict[str, str] | None = None
                ) -> tuple[int, bytes]:
        """Sends one request, and returns status and body. Raises OSError if there is no answer.
        More headers are not signed."""
        path = f"/{self._bucket}" + (f"/{quoted(key, '/')}" if key else "")
        parameters = "&".join(f"{quoted(name)}={quoted(value)}"
                              for name, value in sorted((query or {}).items()))
        headers = self._signed(method, path, parameters, hashlib.sha256(body).hexdigest())
        headers |= more_headers or {}
        target = path + (f"?{parameters}" if parameters else "")
        try:
            return self._send(method, target, body, headers)
        except OSError:
            pass  # the server has closed a connection that was idle
        return self._send(method, target, body, headers)

    def _send(self, method: str, target: str, body: bytes,
              headers: dict[str, str]) -> tuple[int, bytes]:
        try:
            self._connection.request(method, target, body=body or None, headers=headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except http.client.HTTPException as error:
            self.close()
            raise OSError(f"{method} {target}: {error!r}") from error
        except OSError:
            self.close()
            raise

    def get(self, key: str) -> bytes:
        """The object."""
        return self._done("GET", key)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """A part of the object."""
        wanted = f"bytes={offset}-{offset + length - 1}"
        status, answer = self.request("GET", key, more_headers={"range": wanted})
        if status != 206:
            raise S3Error(f"GET '{key}', {wanted}: status {status}: {answer[:300]!r}")
        return answer

    def put(self, key: str, body: bytes) -> None:
        """Stores an object."""
        self._done("PUT", key, body)

    def delete(self, key: str) -> None:
        """Deletes an object, which may be gone already."""
        self._done("DELETE", key)

    def uploads(self, prefix: str) -> list[str]:
        """The keys of the multipart uploads that nobody has completed or aborted; at most a page."""
        status, body = self.request("GET", query={"uploads": ""})
        if status != 200:
            raise S3Error(f"list of uploads: status {status}: {body[:300]!r}")
        return [node.findtext(node.tag.removesuffix("Upload") + "Key", "")
                for node in ElementTree.fromstring(body).iter() if node.tag.endswith("Upload")
                and node.findtext(node.tag.removesuffix("Upload") + "Key", "").startswith(prefix)]

    def list(self, prefix: str) -> list[Listed]:
        """All objects whose keys have the prefix, in order."""
        found: list[Listed] = []
        query = {"list-type": "2", "prefix": prefix}
        while True:
            status, body = self.request("GET", query=query)
            if status != 200:
                raise S3Error(f"list of '{prefix}': status {status}: {body[:300]!r}")
            root = ElementTree.fromstring(body)
            space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""

            def text(node: ElementTree.Element, name: str, space: str = space) -> str:
                return node.findtext(space + name, "")

            found += [Listed(text(node, "Key"), int(text(node, "Size")), text(node, "LastModified"),
                             text(node, "ETag")) for node in root.iter(f"{space}Contents")]
            if text(root, "IsTruncated") != "true":
                return found
            query["continuation-token"] = text(root, "NextContinuationToken")

    def _done(self, method: str, key: str, body: bytes = b"") -> bytes:
        status, answer = self.request(method, key, body=body)
        if status // 100 != 2:
            raise S3Error(f"{method} '{key}': status {status}: {answer[:300]!r}")
        return answer

    def _signed(self, method: str, path: str, parameters: str, digest: str) -> dict[str, str]:
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        headers = {"host": self._host, "x-amz-content-sha256": digest, "x-amz-date": now}
        names = ";".join(sorted(headers))
        canonical = "\n".join([method, path, parameters] +
                              [f"{name}:{headers[name]}" for name in sorted(headers)] +
                              ["", names, digest])
        scope = f"{now[:8]}/us-east-1/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope,
                          hashlib.sha256(canonical.encode()).hexdigest()])
        key = b"AWS4" + self._secret_key.encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={self._access_key}/{scope}, "
                                    f"SignedHeaders={names}, Signature={signature}")
        return headers
