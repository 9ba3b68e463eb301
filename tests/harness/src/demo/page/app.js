// The demo's page: logs in, plays the cases of /assets/cases.json through the real Envoy, and shows
// what was sent, what arrived, and whether the answer is the one that the case promises.
//
// The order here: session, playing a case, judging it, showing it, start.
// `demo --check` plays and judges the same list without a browser.

import {
  $, el, headerOf, claimsOf, echoOf, received, showScenarios, statusLine, side, refused,
  answerCard,
} from './show.js';

const emptyCard = $('empty'); // taken out of the page while a result is shown
const emptyText = $('empty-text');
const SESSION_COOKIE = 'cbo_session_token';

/** What /assets/cases.json says: { issuer, api, one_host, two_hosts, groups, cases }. */
let demo;
/** The session: { token, name, plan }, or null when logged out. */
let session = null;
/** By case id: { case, exchange, misses }. */
const results = new Map();
let current = null;
let playing = false;

// ---------------------------------------------------------------- Session, as a vendor's script

async function issuer(path, body) {
  const answer = await fetch(demo.issuer + path, {
    method: 'POST',
    credentials: 'include', // its refresh cookie
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body ?? {}),
  });
  if (!answer.ok) throw new Error(`the issuer answered ${answer.status}`);
  return answer.json();
}

/** Sets the cookie by script: so it is not HttpOnly, and belongs to this host, on every port. */
function setSessionCookie(token, path = '/') {
  document.cookie = token === null
    ? `${SESSION_COOKIE}=; path=${path}; max-age=0`
    : `${SESSION_COOKIE}=${token}; path=${path}; max-age=3600; samesite=lax`;
}

function startSession({ token, name, plan }) {
  session = { token, name, plan };
  setSessionCookie(token);
  showSession();
}

function endSession() {
  session = null;
  setSessionCookie(null);
  results.clear();
  current = null;
  showSession();
  showResult();
}

async function refresh() {
  try {
    startSession(await issuer('/refresh'));
  } catch {
    endSession();
  }
}

const secondsLeft = () => Math.floor(claimsOf(session.token).exp - Date.now() / 1000);

/** Every second: the clock in the bar; and a new token when under a minute is left. */
async function tick() {
  if (!session || playing) return;
  if (secondsLeft() < 60) await refresh();
  showClock();
}

// ---------------------------------------------------------------- Playing a case

/** The token that a case asks for; null when it sends none. */
async function tokenFor(kase) {
  if (kase.first === 'rotate_keys') {
    await issuer('/demo/rotate');
    await refresh();
  }
  if (!kase.token) return null;
  if (kase.token === 'session') return session.token;
  return (await issuer('/demo/token', { kind: kase.token, name: session?.name, plan: session?.plan })).token;
}

/** Sends the case's request and returns all that can be known about it. */
async function play(kase) {
  const token = await tokenFor(kase);
  const origin = kase.host === 'api' ? demo.api : location.origin;
  const url = origin + kase.path;
  const crossOrigin = origin !== location.origin;
  const headers = { ...kase.headers };
  if (kase.carry === 'bearer') headers.authorization = `Bearer ${token}`;

  const second = kase.carry === 'two_cookies'
    ? (await issuer('/demo/token', { kind: 'pro', name: 'Somebody Else' })).token : null;
  if (kase.carry === 'cookie' || kase.carry === 'two_cookies') setSessionCookie(token);
  else setSessionCookie(null);
  if (second) setSessionCookie(second, '/api');

  // What the browser is about to send. A cookie of a longer path comes first (RFC 6265, 5.4).
  const cookie = [second && `${SESSION_COOKIE}=${second}`, document.cookie].filter(Boolean).join('; ');
  const sent = [['host', new URL(url).host]];
  if (crossOrigin) sent.push(['origin', location.origin]);
  else if (cookie) sent.push(['cookie', cookie]);
  sent.push(...Object.entries(headers));

  const started = performance.now();
  try {
    const answer = await fetch(url, { headers, credentials: 'same-origin', cache: 'no-store' });
    const text = await answer.text();
    let body = null;
    try { body = JSON.parse(text); } catch { /* not JSON: shown as text */ }
    return {
      url, sent, token, crossOrigin, text, body,
      preflight: crossOrigin && Object.keys(headers).length > 0,
      status: answer.status, statusText: answer.statusText, headers: [...answer.headers],
      ms: performance.now() - started,
    };
  } catch (error) {
    // The page cannot read the answer: no CORS headers, or nobody listens.
    return { url, sent, token, crossOrigin, status: 0, statusText: 'network error', headers: [],
      text: String(error), body: null, ms: performance.now() - started };
  } finally {
    if (second) setSessionCookie(null, '/api');
    setSessionCookie(session ? session.token : null);
  }
}

const planOf = (token) => { try { return claimsOf(token).plan; } catch { return undefined; } };
const forPlan = (backend, token) => (typeof backend === 'object' ? backend[planOf(token)] : backend);

// ---------------------------------------------------------------- Judging it

/** What is not as the case promises, in sentences; empty when all is. */
function misses(kase, exchange) {
  const { expect } = kase;
  const found = [];
  const same = (what, got, wanted) => {
    if (got !== wanted) found.push(`${what}: expected ${wanted ?? 'none'}, got ${got ?? 'none'}`);
  };
  const echo = echoOf(exchange.body);
  same('status', exchange.status, expect.status);
  same('backend', echo?.backend, forPlan(expect.backend, exchange.token));
  if (expect.reason) same('reason', exchange.body?.reason, expect.reason);
  if (echo) found.push(...leaks(echo, exchange.token));
  if (expect.next) {
    const next = echo?.next;
    same('second hop, status', next?.status, expect.next.status);
    same('second hop, backend', next?.body?.backend, forPlan(expect.next.backend, exchange.token));
    if (expect.next.reason) same('second hop, reason', next?.body?.reason, expect.next.reason);
    if (echoOf(next?.body)) found.push(...leaks(next.body, exchange.token));
  }
  return found;
}

/** What a backend must see of a session: one bearer, no cookie of ours, the claim of the token. */
function leaks(echo, token) {
  const found = [];
  const bearers = received(echo, 'authorization');
  if (bearers.length !== 1 || bearers[0] !== `Bearer ${token}`) {
    found.push(`${echo.backend} did not receive exactly the verified bearer`);
  }
  if (received(echo, 'cookie').some((value) => value.includes(SESSION_COOKIE))) {
    found.push(`${echo.backend} received the session cookie`);
  }
  if (received(echo, 'x-user-id').join() !== claimsOf(token).sub) {
    found.push(`${echo.backend} did not receive x-user-id from the token`);
  }
  return found;
}

async function run(kase) {
  current = kase;
  playing = true;
  showCases(kase.id);
  showResult(kase);
  try {
    const exchange = await play(kase);
    results.set(kase.id, { kase, exchange, misses: misses(kase, exchange) });
  } catch (error) {
    const exchange = { url: '', sent: [], headers: [], status: 0, statusText: 'not sent', text: String(error), ms: 0 };
    results.set(kase.id, { kase, exchange, misses: [error.message] });
  }
  playing = false;
  showCases();
  showResult();
}

async function runAll() {
  results.clear();
  for (const kase of demo.cases) await run(kase);
  document.body.dataset.done = 'yes';
}

// ---------------------------------------------------------------- Showing it

function showSession() {
  const on = session !== null;
  $('login').hidden = on;
  $('cookie').hidden = !on;
  $('session').hidden = !on;
  $('run-all').disabled = !on;
  emptyText.textContent = on ? 'Pick a case, or run them all.' : 'Log in, then pick a case.';
  if (on) {
    $('avatar').textContent = [...session.name][0]?.toUpperCase() ?? '?';
    $('who').textContent = session.name;
    $('plan-badge').textContent = session.plan;
    $('kid').textContent = `signed by ${headerOf(session.token).kid}`;
    $('cookie-text').replaceChildren(el('b', {}, `${SESSION_COOKIE}=`), session.token);
    showClock();
  }
  showCases();
}

function showClock() {
  if (!session) return;
  const left = Math.max(0, secondsLeft());
  $('left').textContent = `token valid ${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}`;
}

const needsSession = (kase) => Boolean(kase.token);

function expectation({ token, expect: { status, reason, backend, next } }) {
  if (next?.reason) return `${next.status} ${next.reason}`;
  if (reason) return `${status} ${reason}`;
  const name = (names) => (typeof names === 'object' ? session && names[session.plan] : names);
  const last = name((next ?? { backend }).backend);
  return last ? `${status} ${last}` : `${status}`;
}

function showCases(busy = null) {
  const done = [...results.values()];
  const passed = done.filter((result) => result.misses.length === 0).length;
  $('score').textContent = done.length ? `${passed} of ${done.length} as expected` : '';
  $('score').className = `score ${passed === done.length ? 'good' : 'bad'}`;
  $('run-all').disabled = !session || playing;

  $('case-list').replaceChildren(...demo.groups.map(({ scenario, title }) => el('div', { class: 'group' },
    el('h3', {}, title),
    demo.cases.filter((kase) => kase.scenario === scenario).map((kase) => {
      const result = results.get(kase.id);
      const state = kase.id === busy ? 'busy' : !result ? '' : result.misses.length ? 'fail' : 'pass';
      return el('button', {
        class: `case ${state}`, id: `case-${kase.id}`, 'aria-current': current === kase ? 'true' : null,
        disabled: playing || (needsSession(kase) && !session),
        title: result?.misses.length ? result.misses.join('; ') : kase.about,
        onclick: () => run(kase),
      },
      el('span', { class: 'mark', 'aria-label': state || 'not run' }, state === 'pass' ? '✓' : state === 'fail' ? '✗' : ''),
      el('span', { class: 'title' }, kase.title),
      el('span', { class: 'pill' }, expectation(kase)));
    }))));
}

function showResult(busy = null) {
  const result = busy ? null : current && results.get(current.id);
  showMap(busy, result);
  if (!busy && !result) {
    $('result').replaceChildren(emptyCard);
    return;
  }
  const kase = busy ?? result.kase;
  const head = el('div', { class: 'result-head' },
    el('div', {}, el('h2', {}, kase.title), el('p', { class: 'about' }, kase.about)),
    busy ? el('span', { class: 'verdict busy' }, 'running …')
      : result.misses.length ? el('span', { class: 'verdict fail' }, '✗ not as expected')
        : el('span', { class: 'verdict' }, '✓ as expected'));
  if (busy) {
    $('result').replaceChildren(head);
    return;
  }
  const { exchange } = result;
  $('result').replaceChildren(...[
    head,
    result.misses.length > 0 && el('ul', { class: 'misses' }, result.misses.map((miss) => el('li', {}, miss))),
    statusLine(exchange),
    el('div', { class: 'sides' }, sides(exchange)),
    el('div', { class: 'more' }, answerCard(exchange), tokenCard(exchange)),
  ].filter(Boolean));
}

/** The columns: what was sent, what the backend received, what the next backend received. */
function sides(exchange) {
  const echo = echoOf(exchange.body);
  const columns = [side('The browser sent', exchange.sent, { token: exchange.token, after: echo?.headers })];
  if (echo) {
    columns.push(side(`${echo.backend} received`, echo.headers, { token: exchange.token, before: exchange.sent }));
  } else {
    columns.push(refused('The backend received', exchange.status ? exchange.body?.reason : exchange.text, 'Refused in Envoy. No backend was asked.'));
  }
  if (echo?.next) {
    const next = echo.next;
    const nextEcho = echoOf(next.body);
    columns.push(nextEcho
      ? side(`${nextEcho.backend} received`, nextEcho.headers, { token: exchange.token, before: echo.headers })
      : refused('stock received', next.body?.reason ?? String(next.status), 'Refused by the proxy in front of stock.'));
  }
  return columns;
}

function tokenCard(exchange) {
  if (!exchange.token) return null;
  const show = (part) => { try { return JSON.stringify(part(exchange.token), null, 2); } catch { return '(not decodable)'; } };
  return el('details', { open: true },
    el('summary', {}, 'The token, decoded'), el('pre', {}, `${show(headerOf)}\n${show(claimsOf)}`));
}

/** Lights the request's way through the picture. */
function showMap(busy, result) {
  const all = ['browser', 'edge', 'api', 'api_pro', 'orders', 'next', 'keys'].map((name) => $(`n-${name}`))
    .concat(['in', 'api', 'api_pro', 'orders', 'next', 'keys'].map((name) => $(`e-${name}`)), $('p-orders'), $('p-next'));
  for (const node of all) node.classList.remove('on', 'stop');
  const light = (state, ...ids) => ids.forEach((id) => $(id)?.classList.add(state));
  const kase = busy ?? result?.kase;
  $('n-browser-sub').textContent = session ? session.name : 'this page';
  $('w-in').textContent = !kase ? '' : { cookie: 'cookie', two_cookies: '2 cookies', bearer: 'bearer', nothing: 'nothing' }[kase.carry];
  $('n-edge-sub').textContent = 'verify · move · strip';
  $('n-next-name').textContent = 'stock';
  $('w-next').textContent = 'verified again';
  if (busy) light('on', 'e-in', 'n-browser');
  if (!result) return;
  const echo = echoOf(result.exchange.body);
  light('on', 'n-browser');
  if (result.kase.scenario === 4) light('on', 'e-keys', 'n-keys');
  if (!echo) {
    light('stop', 'e-in', 'n-edge');
    $('n-edge-sub').textContent = result.exchange.body?.reason ?? result.exchange.statusText;
    return;
  }
  light('on', 'e-in', 'n-edge', `e-${echo.backend}`, `n-${echo.backend}`);
  if (echo.backend === 'orders') light('on', 'p-orders');
  if (!echo.next) return;
  const nextEcho = echoOf(echo.next.body);
  light(nextEcho ? 'on' : 'stop', 'e-next', 'p-next');
  if (!nextEcho) $('w-next').textContent = echo.next.body?.reason ?? 'refused';
  if (nextEcho) {
    light('on', 'n-next');
    $('n-next-name').textContent = nextEcho.backend;
  }
}

// ---------------------------------------------------------------- Start

async function start() {
  demo = await (await fetch('/assets/cases.json')).json();
  document.cookie = 'theme=warm; path=/; max-age=3600; samesite=lax'; // a cookie that is not ours to touch

  showScenarios(demo.pages);
  const here = location.origin === demo.one_host;
  $('where').replaceChildren('This page came through ', el('code', {}, here ? 'envoy/one-host.yaml' : 'envoy/two-hosts.yaml'), '. The same behind ',
    el('a', { href: here ? demo.two_hosts : demo.one_host }, here ? 'envoy/two-hosts.yaml' : 'envoy/one-host.yaml'));

  $('login').addEventListener('submit', async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    startSession(await issuer('/login', { name: form.get('name'), plan: form.get('plan') }));
    showResult();
  });
  $('logout').addEventListener('click', async () => { await issuer('/logout'); endSession(); });
  $('run-all').addEventListener('click', runAll);
  setInterval(tick, 1000);

  // A reload keeps the session, as long as the issuer still knows it.
  if (document.cookie.includes(`${SESSION_COOKIE}=`)) await refresh();
  else showSession();
  showResult();
}

start();
