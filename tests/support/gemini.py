"""A small server that speaks Gemini's generateContent: it does what it was told next, else it draws."""

import base64
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support import pictures

KEY = "AIza-the-key-that-nobody-may-see"
WORDS = "the provider's own words"
"""Which stand in every answer that has words."""
RESET = struct.pack("ii", 1, 0)
USAGE = {
    "promptTokenCount": 700,
    "candidatesTokenCount": 1320,
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}, {"modality": "TEXT", "tokenCount": 30}],
    "thoughtsTokenCount": 100,
}

Act = Callable[["Handler"], None]


@dataclass
class Gemini:
    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    """What was asked, with `path` and `key`."""
    plan: list[Act] = field(default_factory=list)
    plans: dict[int, list[Act]] = field(default_factory=dict)
    """For pictures of so many pixels across; the last act is repeated."""

    def then(self, *acts: Act) -> None:
        self.plan += acts

    def prompts(self) -> list[str]:
        parts = [part for asked in self.requests for part in asked["contents"][0]["parts"]]
        return [part["text"] for part in parts if "text" in part]

    def next_act(self, asked: dict[str, Any]) -> "Act":
        if self.plan:
            return self.plan.pop(0)
        (picture,) = [part["inlineData"] for part in asked["contents"][0]["parts"] if "inlineData" in part]
        header = base64.urlsafe_b64decode(picture["data"][:64])  # of a PNG
        acts = self.plans.get(int.from_bytes(header[16:20], "big"), [drawing()])
        return acts.pop(0) if len(acts) > 1 else acts[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gemini: Gemini

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.gemini.requests.append(asked | {"path": self.path, "key": self.headers.get("x-goog-api-key")})
        self.gemini.next_act(asked)(self)

    def answer(self, status: int, body: bytes, claimed: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(body) if claimed is None else claimed))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def says(document: Any, status: int = 200) -> Act:
    return lambda handler: handler.answer(status, json.dumps(document).encode())


def candidate(*parts: dict[str, Any], reason: str = "STOP", usage: dict[str, Any] | None = None) -> dict[str, Any]:
    found = {"content": {"role": "model", "parts": list(parts)}, "finishReason": reason, "index": 0}
    return {"candidates": [found], "usageMetadata": USAGE if usage is None else usage}


def inline(data: bytes, **more: Any) -> dict[str, Any]:
    return {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(data).decode()}, **more}


def drawn() -> bytes:
    return pictures.encoded(pictures.portrait(), "PNG")


def drawing(data: bytes | None = None) -> Act:
    return says(candidate({"text": WORDS}, inline(data if data is not None else drawn())))


def drawing_no_base64() -> Act:
    return says(candidate({"inlineData": {"mimeType": "image/png", "data": "!"}}))


def refusing(code: int, status: str, *details: dict[str, Any], message: str = WORDS) -> Act:
    error = {"code": code, "message": message, "status": status, "details": list(details)}
    return says({"error": error}, code)


def busy(delay: str) -> Act:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    quota = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "PerMinute"}]}
    return refusing(429, "RESOURCE_EXHAUSTED", quota, info)


def bad_key() -> Act:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    return refusing(400, "INVALID_ARGUMENT", info, message=f"API key not valid: {KEY}. {WORDS}")


def blocked_prompt() -> Act:
    feedback = {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": WORDS}
    return says({"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 700}})


def blocked_picture(reason: str = "IMAGE_SAFETY") -> Act:
    return says(candidate({"text": WORDS}, reason=reason, usage={"promptTokenCount": 700}))


def only_words() -> Act:
    return says(candidate({"text": WORDS}, usage={"promptTokenCount": 700, "candidatesTokenCount": 30}))


def resetting(handler: Handler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    handler.connection.close()
    handler.close_connection = True


def breaking_off(handler: Handler) -> None:
    """Half of an answer."""
    body = json.dumps(candidate(inline(drawn()))).encode()
    handler.answer(200, body[: len(body) // 2], claimed=len(body))
    handler.close_connection = True


def talking_nonsense(handler: Handler) -> None:
    handler.answer(200, f"<html>{WORDS}</html>".encode())


def waiting_for(event: threading.Event, act: Act | None = None) -> Act:
    """Answers once the event is set; says nothing when it never is."""

    def wait(handler: Handler) -> None:
        if event.wait(300):
            (act or drawing())(handler)

    return wait


def no_call_is_under_way() -> bool:
    """In this process."""
    return not any(thread.name == "paid call" for thread in threading.enumerate())


@contextmanager
def gemini_server() -> Iterator[Gemini]:
    gemini = Gemini("")
    handler = type("Bound", (Handler,), {"gemini": gemini})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    # A client that has left in the middle of an answer is what is tested here.
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    gemini.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield gemini
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
