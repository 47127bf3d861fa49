"""The wire to a Consul agent, against servers that say what no agent should."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from sidecar.discovery.consul.agent import Agent, Refused, Trouble, token_of
from sidecar.discovery.consul.settings import Settings
from tests.support.live import Upstream, answering

Answer = TypeVar("Answer")


def said(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nx-consul-index: 7\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


def asked(url: str, question: Callable[[Agent], Awaitable[Answer]], settings: Settings | None = None) -> Answer:
    """What the agent at ``url`` answers."""

    async def ask() -> Answer:
        agent = Agent(url, settings or Settings(), lambda: None)
        try:
            return await question(agent)
        finally:
            await agent.close()

    return asyncio.run(ask())


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b"<html>", b"", b'{"a": ', b"\xff\xfe", b"x" * (1 << 21)], ids=range(6)
)
def test_whatever_is_said_of_the_leader_it_is_trouble_in_words(body: bytes) -> None:
    """Any other exception would end what asks whether the registry is back."""
    with Upstream(answering(said(body))) as agent, pytest.raises(Trouble) as trouble:
        asked(f"http://{agent.address}", Agent.reach)
    assert agent.address in str(trouble.value) and len(str(trouble.value)) < 300


def test_a_refusal_is_told_in_the_agent_s_words() -> None:
    """Who may not read gets 403, whether its token is unknown or allows too little."""
    with Upstream(answering(said(b"ACL not found\n", b"403 Forbidden"))) as agent, pytest.raises(Refused) as refused:
        asked(f"http://{agent.address}", lambda agent: agent.instances("orders", 0, 0.0))
    assert str(refused.value).endswith("refuses the token: ACL not found")


def test_an_agent_may_be_at_an_address_of_ipv6() -> None:
    """Its URL has brackets, which the client does not put back by itself."""
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")

    async def story() -> bytes:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(said(b"[]"))
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(serve, sock=listener):
            agent = Agent(f"http://[::1]:{listener.getsockname()[1]}", Settings(), lambda: None)
            try:
                return (await agent.instances("orders", 0, 0.0)).body
            finally:
                await agent.close()

    assert asyncio.run(story()) == b"[]"


def test_a_key_that_needs_a_password_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    """There may be a terminal, and nobody at it."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=x",
         "-passout", "pass:secret"],
        check=True, capture_output=True,
    )  # fmt: skip
    with pytest.raises(OSError):
        asked("https://127.0.0.1:1", Agent.reach, Settings(cert_file=str(cert), key_file=str(key)))


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines", b"\xff\xfe", b"a b", b"x" * 5000])
def test_a_file_that_holds_no_token_is_trouble_and_nothing_of_it_is_told(content: bytes, tmp_path: Path) -> None:
    """An empty one would make us anonymous; it may be half written."""
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(Trouble) as trouble:
        token_of(str(path))()
    assert str(trouble.value).startswith(f"the token in {path} cannot be read: it is ")
    assert "lines" not in str(trouble.value) and "xxx" not in str(trouble.value)


def test_a_pipe_in_the_place_of_the_token_holds_nobody_up(tmp_path: Path) -> None:
    """To open it would wait for somebody who writes."""
    path = tmp_path / "token"
    os.mkfifo(path)
    with pytest.raises(Trouble, match="it is no file"):
        token_of(str(path))()
