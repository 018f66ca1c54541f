"""Receive webhooks: check who they are from and that nobody has changed them, and take each only once.

    pip install standardwebhooks
    SEEDMILL_WEBHOOK_SECRET="$(seedmill webhooks secret)" python examples/webhook_receiver.py [PORT]

Put it behind something that speaks https, or let the API send to it, with SEEDMILL_WEBHOOK_ALLOW_HTTP=true and
SEEDMILL_WEBHOOK_ALLOWED_HOSTS=127.0.0.1 in the environment of `make up` or `seedmill serve`. Its port is 9123 by
default. Any library for Standard Webhooks does the same in other languages.
"""

from __future__ import annotations

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

SEEN: set[str] = set()
"""Ids that have come; an app keeps them where it keeps what it does about them."""


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to what is genuine; any other status would have it sent again later."""

    webhook = Webhook(os.environ["SEEDMILL_WEBHOOK_SECRET"])

    def do_POST(self) -> None:  # the name is the library's
        """Take one webhook."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            event = self.webhook.verify(body, {name.lower(): value for name, value in self.headers.items()})
        except WebhookVerificationError as error:
            self.send_error(401, str(error))
            return
        if (number := self.headers["webhook-id"]) not in SEEN:  # one whose answer was lost comes again
            SEEN.add(number)
            job = event["data"]
            print(event["type"], job["id"], job["counts"], flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing else."""


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9123
    with ThreadingHTTPServer(("127.0.0.1", port), Receiver) as server:
        print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
