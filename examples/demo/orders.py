"""The service "orders": each order asks for a payment. ``python -m examples.demo.orders PORT SIDECAR_PORT``.

The second port is the outbound listener of its own sidecar, which finds payments by the name in ``Host``. There is no
retry, timeout or breaker here, and no address of payments.
"""

from __future__ import annotations

import json
import sys
from http.client import HTTPConnection

from examples.demo.app import App, run

PASSED_ON = ("traceparent", "x-request-id")
"""With these, what happens in payments can be told to belong to the request that came here."""


class Orders(App):
    sidecar_port: int

    def serve(self) -> None:
        number = self.path.rpartition("/")[2]
        names = {name: value for name in PASSED_ON if (value := self.headers[name])}
        connection = HTTPConnection("127.0.0.1", self.sidecar_port)
        try:
            connection.request("GET", f"/payments/{number}", headers={"Host": "payments", **names})
            response = connection.getresponse()
            payment = json.loads(response.read())
        finally:
            connection.close()
        if response.status == 200:
            self.answer(200, {"order": number, "paid_by": payment["paid_by"]})
        else:
            self.answer(502, {"order": number, "error": f"payments answered {response.status}"})


if __name__ == "__main__":
    Orders.sidecar_port = int(sys.argv[2])
    run(Orders, int(sys.argv[1]))
