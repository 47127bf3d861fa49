"""A service-mesh sidecar: one small process beside each instance of an application.

The reader's path, for who wants to know the product from six files:

- ``app``: constructs the parts and connects them; nothing else does
- ``proxy/listener``: a bound address that turns connections into downstreams
- ``proxy/downstream``: the peer that sent us a request, as bytes in and bytes out
- ``exchange/machine``: one request and its response, step by step, without a socket
- ``routing/plan``: what the configuration means for such a request, compiled before the first one comes
- ``proxy/upstream``: the peer that the request is sent to

``proxy/http2`` has the same two sides for HTTP/2, behind the same seams (``exchange/seams``), over the connection machine
of ``http/h2``. All other modules answer a question that one of these asks.
"""

__version__ = "0.1.0"
