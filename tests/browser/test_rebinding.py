"""ADM-04: a page of somebody else, in the browser of the administrator, reaches neither the console nor a proxy.

The page comes from `evil.test`, which resolves to this machine, as it does after DNS rebinding: to the browser the ports
of the gateway are then ports of the page's own host. It tries what a page can try, under every name of this machine.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser, async_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM_NAMES
from tests.browser.site import Site
from tests.support.console import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

HOSTS = ("evil.test", "127.0.0.1", "localhost", "0.0.0.0")
ATTEMPTS = """async ({hosts, console, proxy}) => {
  const readable = [];
  const report = (what, answer) => { if (answer) readable.push(what + ': ' + answer); };
  const text = async (url, options) => {
    try { const answer = await fetch(url, options); return answer.type === 'opaque' ? '' : await answer.text(); }
    catch { return ''; }
  };
  const user = JSON.stringify({username: 'mallory', role: 'admin'});
  const chat = JSON.stringify({model: 'echo', messages: [{role: 'user', content: 'from evil.test'}]});
  const plain = {'Content-Type': 'text/plain'}, jsonType = {'Content-Type': 'application/json'};
  for (const host of hosts) {
    const at = port => `http://${host}:${port}`;
    for (const mode of ['cors', 'no-cors']) {
      const send = async (port, path, options = {}) => {
        const signal = AbortSignal.timeout(4000);
        const answer = await text(at(port) + path, {mode, credentials: 'include', signal, ...options});
        report(`${mode} ${options.method || 'GET'} ${at(port)}${path}`, answer);
      };
      for (const path of ['/', '/api/v1/proxies', '/api/v1/auth/me', '/health', '/events', '/static/app.js'])
        await send(console, path);
      for (const headers of mode === 'cors' ? [plain, jsonType] : [plain]) {
        for (const path of ['/api/v1/users', '/settings/users', '/proxies/new', '/logout', '/access/new'])
          await send(console, path, {method: 'POST', headers, body: user});
        await send(proxy, '/v1/chat/completions', {method: 'POST', headers, body: chat});
      }
      await send(proxy, '/v1/models');
      await send(console, '/api/v1/proxies/x', {method: 'DELETE'});
    }
    for (const port of [console, proxy]) {
      report(`WebSocket ${at(port)}`, await new Promise(done => {
        const socket = new WebSocket(`ws://${host}:${port}/events`);
        socket.onopen = () => done('open'); socket.onerror = () => done('');
      }));
      report(`EventSource ${at(port)}`, await new Promise(done => {
        const source = new EventSource(at(port) + '/api/v1/events', {withCredentials: true});
        source.onopen = () => { source.close(); done('open'); }; source.onerror = () => { source.close(); done(''); };
      }));
      for (const [tag, path] of [['img', '/static/favicon.svg'], ['script', '/static/app.js'], ['script', '/api/v1/proxies']])
        report(`${tag} ${at(port)}${path}`, await new Promise(done => {
          const element = document.createElement(tag);
          element.onload = () => done('loaded'); element.onerror = () => done('');
          element.src = at(port) + path; document.head.append(element);
        }));
      await new Promise(done => {
        const frame = document.createElement('iframe'); frame.name = 'f' + port + host; frame.onload = done;
        document.body.append(frame); setTimeout(done, 4000);
        const form = document.createElement('form');
        form.method = 'post'; form.target = frame.name; form.enctype = 'text/plain';
        form.action = at(port) + (port === console ? '/api/v1/users' : '/v1/chat/completions');
        const field = document.createElement('input');
        field.name = '{"username": "mallory", "role": "admin", "x": "'; field.value = '"}';
        form.append(field); document.body.append(form); form.submit();
      });
    }
  }
  return readable;
}"""


@asynccontextmanager
async def evil_page() -> AsyncIterator[int]:
    """A web server with an empty page; gives its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b"<!doctype html><title>evil</title><body></body>"
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
        )
        writer.write(body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port: int = server.sockets[0].getsockname()[1]
        yield port


@asynccontextmanager
async def rebound_browser() -> AsyncIterator[Browser]:
    """A Chromium to which evil.test is this machine."""
    found = next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)
    arguments = [*ARGUMENTS, "--host-resolver-rules=MAP evil.test 127.0.0.1"]
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=found, args=arguments)
        yield running
        await running.close()


async def state_of(site: Site) -> dict[str, Any]:
    """Everything that a change would change: what exists, and who did what."""
    paths = ("proxies", "api-keys", "users", "tokens", "audit", "policies/drafts", "canaries")
    answers = {path: (await site.api.get(f"/{path}")).json()["data"] for path in paths}
    for proxy in answers["proxies"]["items"]:
        proxy.pop("updated_at")
    return answers


async def test_ADM_04_a_rebound_page_reads_nothing_and_changes_nothing(own_site: Site) -> None:
    site = own_site
    proxy = await site.create_proxy("open", require_auth=False)
    await site.start(proxy["id"])
    console_port = int(site.url.rpartition(":")[2])
    async with evil_page() as evil_port, rebound_browser() as browser:
        page = await (await browser.new_context()).new_page()
        await site.log_in(page)
        await page.goto(f"http://evil.test:{evil_port}/")
        before = await state_of(site)
        ports = {"hosts": HOSTS, "console": console_port, "proxy": proxy["port"]}
        readable = await page.evaluate(ATTEMPTS, ports)
        assert readable == [], json.dumps(readable, indent=1)
        assert await state_of(site) == before
        assert site.upstream.seen == [], "no request of the page went through the proxy"
        refused = (await site.api.get("/traffic?outcome=refused")).json()["data"]
        assert refused["total"] > 0, "the requests of the page did reach the proxy"
        for port in (console_port, proxy["port"]):
            answer = await page.goto(f"http://evil.test:{port}/")
            assert answer is not None
            assert answer.status in (403, 421), "a name that is not ours is refused, also as a page"
        # The administrator's own tab works as before.
        await page.goto(site.url)
        assert await page.locator("h1").inner_text() == "Overview"


async def test_ADM_04_a_page_of_another_port_cannot_act_with_the_session(own_site: Site) -> None:
    """Cookies know no ports: a page of another program on 127.0.0.1 sends the console's session along."""
    site = own_site
    async with evil_page() as port, rebound_browser() as browser:
        page = await (await browser.new_context()).new_page()
        await site.log_in(page)
        await page.goto(f"http://127.0.0.1:{port}/")
        before = await state_of(site)
        console_port = int(site.url.rpartition(":")[2])
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            ports = {"hosts": ("127.0.0.1", "localhost"), "console": console_port, "proxy": unused.getsockname()[1]}
            assert await page.evaluate(ATTEMPTS, ports) == []
        assert await state_of(site) == before
        assert PASSWORD not in await page.content()
