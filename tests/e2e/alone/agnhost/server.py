"""What the quickstart needs of agnhost: `netexec --http-port=PORT` answers every GET."""

import argparse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answer(BaseHTTPRequestHandler):
    """`ok` to all paths, `/healthz` among them."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Keep the pod's log short."""


parser = argparse.ArgumentParser()
parser.add_argument("command", choices=["netexec"])
parser.add_argument("--http-port", type=int, default=8080)
ThreadingHTTPServer(("", parser.parse_args().http_port), Answer).serve_forever()
