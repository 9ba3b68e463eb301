// `supertokens-website` in a page: it signs in, sends one request, and tells what came of it.
//
// jsdom is the browser: its XMLHttpRequest has cookies, preflights and CORS. It has no fetch.

import { setDefaultResultOrder } from "node:dns";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { CookieJar, JSDOM, VirtualConsole } from "jsdom";

import { serve } from "./program.mjs";

/** A `require` whose modules live in the page. */
function requireIn(window) {
  const loaded = new Map();
  const requireFrom = (from) => (name) => {
    const path = createRequire(from).resolve(name);
    if (!loaded.has(path)) {
      const module = { exports: {} };
      loaded.set(path, module);
      const names = "module, exports, require, global";
      const load = window.eval(`(function (${names}) {${readFileSync(path, "utf8")}\n})`);
      load(module, module.exports, requireFrom(path), window);
    }
    return loaded.get(path).exports;
  };
  return requireFrom(import.meta.url);
}

/** `fetch` as the page would have it: of the XMLHttpRequest that nobody intercepts. */
function giveFetch(window) {
  const { XMLHttpRequest } = window;
  const fetch = (url, { method = "GET", headers, credentials } = {}) =>
    new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open(method, url);
      request.withCredentials = credentials === "include";
      new Headers(headers).forEach((value, name) => request.setRequestHeader(name, value));
      request.onload = () => {
        const lines = request.getAllResponseHeaders().trim().split("\r\n");
        const pairs = lines.map((line) => line.split(/: (.*)/s, 2));
        const { status } = request;
        resolve(new Response(request.responseText || null, { status, headers: pairs }));
      };
      request.onerror = () => reject(new TypeError("the request failed"));
      request.send();
    });
  Object.assign(window, { fetch, Headers, Response });
}

/** One request by `fetch` or by `XMLHttpRequest`: its status and its body. */
async function request(window, via, method, url) {
  if (via === "fetch") {
    const response = await window.fetch(url, { method });
    return { status: response.status, body: await response.text() };
  }
  return new Promise((resolve, reject) => {
    const request = new window.XMLHttpRequest();
    request.open(method, url);
    request.onload = () => resolve({ status: request.status, body: request.responseText });
    request.onerror = () => reject(new Error("the request failed"));
    request.send();
  });
}

async function visit({ api, page, transfer, via, method, path }) {
  const cookieJar = new CookieJar();
  const virtualConsole = new VirtualConsole();
  const { window } = new JSDOM("", {
    url: `${page}/`, cookieJar, virtualConsole, runScripts: "outside-only",
  });
  giveFetch(window);
  const SuperTokens = requireIn(window)("supertokens-website").default;
  const events = [];
  SuperTokens.init({
    apiDomain: api,
    apiBasePath: "/auth",
    tokenTransferMethod: transfer,
    onHandleEvent: (event) => {
      events.push(event.action);
      for (const { id } of event.claimValidationErrors ?? []) events.push(`claim ${id}`);
    },
  });

  const login = await request(window, "fetch", "POST", `${api}/auth/login`);
  const outcome = await request(window, via, method, `${api}${path}`).catch(
    (error) => ({ status: 0, body: String(error) }),
  );
  const cookies = await cookieJar.getCookies(`${api}/auth/session/refresh`);
  const exists = await SuperTokens.doesSessionExist();
  window.close();
  return { login: login.status, ...outcome, events, exists, cookies: cookies.map(({ key }) => key) };
}

// Envoy listens on IPv4.
setDefaultResultOrder("ipv4first");
await serve(visit);
