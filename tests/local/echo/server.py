"""Answers every request with the name it was started under."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = os.environ["NAME"].encode()


class Echo(BaseHTTPRequestHandler):
    """One answer for all paths; `/metrics` answers as Prometheus expects."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Say who we are."""
        body = b"echo_up 1\n" if self.path == "/metrics" else NAME
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the pod's log short."""


ThreadingHTTPServer(("", 8000), Echo).serve_forever()
