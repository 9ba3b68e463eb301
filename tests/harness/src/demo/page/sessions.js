// The page of the shared session: signs in, plays the flows of /assets/flows.json through the real
// Envoy, and shows what was sent, what arrived, and whether it is what the flow promises.
//
// It never sees a token: the session's cookies are HttpOnly. What it may know of the session comes
// in the header `front-token`. What a page of another origin is answered, it cannot know either:
// it shows that page in a frame, and asks the API whether anything was posted.
//
// The order here: session, sending a step, judging it, showing it, start.
// `demo --check` plays and judges the same list without a browser.

import {
  $, el, claimsOf, echoOf, received, showScenarios, statusLine, side,
} from './show.js';

const emptyText = $('empty-text'); // taken out of the page once a flow is shown

/** What /assets/flows.json says: { shared, by_path, api, api2, sibling, foreign, …, flows }. */
let demo;
/** The front token: { uid, ate: when it ends in ms, up: claims }, or null when signed out. */
let session = null;
/** Who signed in last: { name, plan }. Flows that start signed in sign in as them again. */
let user = null;
/** By flow id: sentences about what is not as promised. */
const results = new Map();
let current = null;
let playing = false;

const byPath = () => location.origin === demo.by_path;

/** Where an API's path is: on a host of its own, or under this page's host. */
function urlOf(to, path) {
  if (to === 'www') return location.origin + path;
  if (byPath()) return location.origin + (to === 'auth' ? '' : `/${to}`) + path;
  return (to === 'api2' ? demo.api2 : demo.api) + path;
}

// ---------------------------------------------------------------- Session

/** One request with the session's cookie. Returns all that can be known about it. */
async function send(method, to, path, body = {}) {
  const url = urlOf(to, path);
  const crossOrigin = new URL(url).origin !== location.origin;
  const sent = [['host', new URL(url).host]];
  if (crossOrigin || method !== 'GET') sent.push(['origin', location.origin]);
  const cookies = [session && 'sAccessToken=(HttpOnly)', 'theme=warm'];
  sent.push(['cookie', cookies.filter(Boolean).join('; ')]);
  const started = performance.now();
  const exchange = { method, url, sent, crossOrigin, preflight: crossOrigin && method !== 'GET' };
  try {
    const answer = await fetch(url, {
      method,
      credentials: 'include', // also to the other host of the same site
      cache: 'no-store',
      ...(method === 'GET' ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    let json = null;
    try { json = JSON.parse(text); } catch { /* not JSON: shown as text */ }
    takeNote(to, path, answer);
    return Object.assign(exchange, { status: answer.status, statusText: answer.statusText, text, body: json,
      ms: performance.now() - started });
  } catch (error) {
    // The page cannot read the answer: no CORS headers, or nobody listens.
    return Object.assign(exchange, { status: 0, statusText: 'network error', text: String(error), body: null,
      ms: performance.now() - started });
  }
}

/** As the vendor's front-end SDK does it. */
function takeNote(to, path, answer) {
  const token = answer.headers.get('front-token');
  if (token) session = JSON.parse(atob(token));
  else if (to === 'auth' && (path === '/auth/signout' ? answer.ok : answer.status === 401)) session = null;
}

async function signIn(who) {
  user = who;
  const { status } = await send('POST', 'auth', '/auth/signin', who);
  if (status !== 200) throw new Error(`the auth server answered ${status}`);
}

const refresh = () => send('POST', 'auth', '/auth/session/refresh');
const signOut = () => send('POST', 'auth', '/auth/signout');
const secondsLeft = () => Math.max(0, Math.floor(session.ate / 1000 - Date.now() / 1000));

/** A flow that starts signed in has a token that lives through it. */
async function prepare(starts) {
  if (session && secondsLeft() < 15) await refresh();
  if (starts === 'signed_out') {
    if (session) await signOut();
  } else if (!session) {
    await signIn(user);
  }
}

// ---------------------------------------------------------------- Sending a step

async function play(step, stage) {
  switch (step.by) {
    case 'page': return send(step.method ?? 'GET', step.to, step.path);
    case 'person': return openInFrame(step, stage);
    case 'login_page': return signInInFrame(step, stage);
    default: return letOutsiderPost(step, stage);
  }
}

/** Opens a page of this host, as a person would; the answer may be a redirect. */
async function openInFrame(step, stage) {
  const url = urlOf(step.to, step.path);
  const started = performance.now();
  const frame = el('iframe', { src: url, title: 'What a person sees' });
  stage.append(frame);
  await loaded(frame);
  return whatCame(frame, { method: 'GET', url, ms: performance.now() - started });
}

/** Fills in the login page that the frame shows, and waits until it has gone back. */
async function signInInFrame(step, stage) {
  const frame = document.querySelector('#result iframe');
  const started = performance.now();
  const form = await until(() => {
    const found = frame.contentDocument?.querySelector('#login');
    return found && !found.hidden && found;
  });
  form.elements.name.value = user.name;
  form.elements.plan.value = user.plan;
  form.requestSubmit();
  await until(() => frame.contentWindow.location.pathname === step.path && frame.contentDocument?.querySelector('#echo'));
  stage.append(el('p', { class: 'about' }, 'The login page signed in and went back: see the frame above.'));
  const exchange = whatCame(frame, { method: 'GET', url: urlOf(step.to, step.path), ms: performance.now() - started });
  exchange.body = JSON.parse(frame.contentDocument.querySelector('#echo').textContent);
  await refresh(); // the frame's session is this page's too
  return exchange;
}

/** What a frame of this origin shows, and how it got there. */
function whatCame(frame, exchange) {
  const [navigation] = frame.contentWindow.performance.getEntriesByType('navigation');
  const { href } = frame.contentWindow.location;
  const redirected = navigation.redirectCount > 0;
  return Object.assign(exchange, {
    sent: [], body: null, text: '', location: redirected ? href : null,
    status: redirected ? 302 : navigation.responseStatus,
    statusText: redirected ? `to ${new URL(href).pathname}` : '',
  });
}

/** A page of another origin posts, in a frame. It tells when it does; only the API knows what came. */
async function letOutsiderPost(step, stage) {
  const outsider = demo[step.by];
  const target = urlOf(step.to, step.path);
  const started = performance.now();
  const before = await send('GET', step.to, step.path);
  const quietly = step.by === 'foreign';
  const told = new Set();
  const listen = (event) => { if (event.origin === outsider) told.add(event.data); };
  addEventListener('message', listen);
  const frame = el('iframe', {
    src: `${outsider}/?to=${encodeURIComponent(target)}${quietly ? '&quietly' : ''}`, title: 'A page that is not yours',
  });
  let loads = 0;
  frame.addEventListener('load', () => { loads += 1; });
  stage.append(frame);
  // A form ends with the API's answer in the frame: a second load.
  await until(() => (quietly ? told.has('sent') : told.has('sending') && loads > 1));
  removeEventListener('message', listen);
  const after = await send('GET', step.to, step.path);
  const arrived = after.body?.posts - before.body?.posts;
  return {
    method: step.method, url: target, sent: [], status: null, statusText: '', body: null, text: '', arrived,
    ms: performance.now() - started, by: outsider,
  };
}

const loaded = (frame) => new Promise((resolve) => { frame.addEventListener('load', resolve, { once: true }); });

/** Waits until `ready` gives something; a frame on its way elsewhere gives nothing yet. */
async function until(ready) {
  const end = performance.now() + 10_000;
  while (performance.now() < end) {
    try {
      const found = ready();
      if (found) return found;
    } catch { /* the frame is between two pages */ }
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
  throw new Error('the page in the frame did not come to its end');
}

// ---------------------------------------------------------------- Judging it

/** What is not as the step promises, in sentences; empty when all is. */
function misses({ by, to, path, expect }, exchange) {
  const found = [];
  const same = (what, got, wanted) => {
    if (got !== wanted) found.push(`${what}: expected ${wanted ?? 'none'}, got ${got ?? 'none'}`);
  };
  if (by === 'sibling' || by === 'foreign') {
    same('posts that arrived', exchange.arrived, 0);
    return found;
  }
  const echo = echoOf(exchange.body);
  same('status', exchange.status, expect.status);
  same('backend', echo?.backend, expect.backend);
  if (expect.message) same('message', exchange.body?.message, expect.message);
  if (expect.to_login) {
    const login = new URL(exchange.location ?? 'about:blank');
    same('login page', login.origin + login.pathname, `${demo.shared}/login`);
    same('return_to', login.searchParams.get('return_to'), urlOf(to, path));
  }
  if (echo) found.push(...leaks(echo));
  return found;
}

/** What a backend must see of a session: one bearer, none of its cookies, the claims of the token. */
function leaks(echo) {
  const found = [];
  const bearers = received(echo, 'authorization');
  if (bearers.length !== 1 || !bearers[0].startsWith('Bearer ')) return [`${echo.backend} received no single bearer`];
  if (received(echo, 'cookie').join().includes('sAccessToken')) found.push(`${echo.backend} received the session cookie`);
  const claims = claimsOf(bearers[0].slice('Bearer '.length));
  for (const [name, value] of [['x-user-id', claims.sub], ['x-user-plan', claims.plan], ['x-user-roles', claims['st-role'].v.join()]]) {
    if (received(echo, name).join() !== value) found.push(`${echo.backend} did not receive ${name} from the token`);
  }
  return found;
}

async function run(flow) {
  current = flow;
  playing = true;
  results.delete(flow.id);
  showFlows(flow.id);
  const stage = showFlow(flow);
  const found = [];
  try {
    await prepare(flow.starts);
    for (const step of flow.steps) {
      const card = el('section', { class: 'step' });
      stage.append(card);
      const exchange = await play(step, card);
      const missing = misses(step, exchange);
      found.push(...missing);
      showMap(step, exchange, missing);
      // One open look at what an API received is enough.
      for (const earlier of stage.querySelectorAll('details')) earlier.open = false;
      card.prepend(...showStep(step, exchange, missing));
    }
  } catch (error) {
    found.push(error.message);
    stage.append(missList([error.message]));
  }
  results.set(flow.id, found);
  playing = false;
  showVerdict(found);
  showSession();
}

async function runAll() {
  results.clear();
  delete document.body.dataset.done;
  for (const flow of flows()) await run(flow);
  document.body.dataset.done = 'yes';
}

// ---------------------------------------------------------------- Showing it

const flows = () => demo.flows.filter(({ only }) => !only || only === (byPath() ? 'by_path' : 'shared'));

function showSession() {
  const on = session !== null;
  $('login').hidden = on;
  $('cookie').hidden = !on;
  $('session').hidden = !on;
  if (on) {
    $('avatar').textContent = [...user.name][0]?.toUpperCase() ?? '?';
    $('who').textContent = user.name;
    $('plan-badge').textContent = session.up.plan;
    $('kid').textContent = `session ${session.up.sessionHandle.slice(0, 8)}…`;
    $('cookie-text').textContent = JSON.stringify(session);
    showClock();
  }
  emptyText.textContent = on ? 'Pick a case, or run them all.' : 'Sign in, then pick a case.';
  showFlows();
}

function showClock() {
  if (!session || playing) return;
  const left = secondsLeft();
  $('left').textContent = left ? `token valid 0:${String(left).padStart(2, '0')}` : 'token ran out: refresh on 401';
}

function showFlows(busy = null) {
  const done = [...results.values()];
  const passed = done.filter((found) => found.length === 0).length;
  $('score').textContent = done.length ? `${passed} of ${done.length} as expected` : '';
  $('score').className = `score ${passed === done.length ? 'good' : 'bad'}`;
  $('run-all').disabled = !user || playing;
  $('case-list').replaceChildren(...demo.groups.map(({ group, title }) => el('div', { class: 'group' },
    el('h3', {}, title),
    flows().filter((flow) => flow.group === group).map((flow) => {
      const found = results.get(flow.id);
      const state = flow.id === busy ? 'busy' : !found ? '' : found.length ? 'fail' : 'pass';
      return el('button', {
        class: `case ${state}`, id: `case-${flow.id}`, 'aria-current': current === flow ? 'true' : null,
        disabled: playing || !user, title: found?.length ? found.join('; ') : flow.about, onclick: () => run(flow),
      },
      el('span', { class: 'mark', 'aria-label': state || 'not run' }, state === 'pass' ? '✓' : state === 'fail' ? '✗' : ''),
      el('span', { class: 'title' }, flow.title),
      el('span', { class: 'pill' }, flow.shows));
    }))));
}

/** Makes room for a flow's steps, and returns where they go. */
function showFlow(flow) {
  const stage = el('div', { class: 'steps' });
  $('result').replaceChildren(el('div', { class: 'result-head' },
    el('div', {}, el('h2', {}, flow.title), el('p', { class: 'about' }, flow.about)),
    el('span', { class: 'verdict busy', id: 'verdict' }, 'running …')), stage);
  return stage;
}

function showVerdict(found) {
  $('verdict').className = `verdict ${found.length ? 'fail' : ''}`;
  $('verdict').textContent = found.length ? '✗ not as expected' : '✓ as expected';
}

const missList = (missing) => el('ul', { class: 'misses' }, missing.map((miss) => el('li', {}, miss)));

function showStep(step, exchange, missing) {
  const echo = echoOf(exchange.body);
  const outsider = exchange.by && el('p', { class: 'about' }, `Sent by ${exchange.by}, in the frame below. `,
    el('b', {}, exchange.arrived === 0 ? 'The API never saw it.' : 'It reached the API!'));
  return [
    exchange.by
      ? el('div', { class: 'line' }, el('span', { class: 'url' }, `${exchange.method} ${exchange.url}`), el('span', { class: 'pill bad' }, exchange.arrived === 0 ? `${step.expect.status} ${step.expect.message}` : 'not refused'))
      : statusLine(exchange),
    missing.length > 0 && missList(missing),
    outsider,
    echo && step.by === 'page' && el('details', { open: true }, el('summary', {}, `What ${echo.backend} received`),
      el('div', { class: 'sides' }, side('The browser sent', exchange.sent, { after: echo.headers }),
        side(`${echo.backend} received`, echo.headers, { token: received(echo, 'authorization')[0]?.slice('Bearer '.length), before: exchange.sent }))),
  ].filter(Boolean);
}

/** Lights the way of the latest step through the picture. */
function showMap(step, exchange, missing) {
  for (const node of document.querySelectorAll('#map .on, #map .stop')) node.classList.remove('on', 'stop');
  const light = (state, ...ids) => ids.forEach((id) => $(id)?.classList.add(state));
  const outside = exchange.by ? 'others' : 'page';
  const reached = echoOf(exchange.body) || step.to === 'auth';
  light('on', `n-${outside}`);
  $('n-others-sub').textContent = exchange.by ? new URL(exchange.by).hostname.replace('.localhost', '') : 'blog, evil';
  $('n-edge-sub').textContent = reached ? 'share · verify · move' : exchange.body?.message ?? step.expect.message ?? `${exchange.status}`;
  light(missing.length || !reached ? 'stop' : 'on', `e-${outside}`, 'n-edge');
  if (reached) light('on', `e-${step.to}`, `n-${step.to}`);
}

// ---------------------------------------------------------------- Start

async function start() {
  demo = await (await fetch('/assets/flows.json')).json();
  // A cookie that is not ours to touch, for all hosts of the site.
  document.cookie = 'theme=warm; domain=example.localhost; path=/; max-age=3600; samesite=lax';
  showScenarios(demo.pages);
  $('where').replaceChildren('This page came through ', el('code', {}, 'envoy/shared-session.yaml'), '. ',
    'Its login page guards ', el('a', { href: '/account' }, '/account'));
  if (byPath()) {
    $('pitch-shared').hidden = true;
    $('pitch-by-path').hidden = false;
    $('n-page-sub').textContent = 'app.example';
    $('r-api').textContent = 'app.example.localhost/api';
    $('r-api2').textContent = 'app.example.localhost/api2';
  }
  $('login').addEventListener('submit', async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    await signIn({ name: form.get('name'), plan: form.get('plan') });
    showSession();
  });
  $('logout').addEventListener('click', async () => {
    if (!secondsLeft()) await refresh(); // signing out takes a token that is valid
    await signOut();
    user = null;
    results.clear();
    showSession();
  });
  $('run-all').addEventListener('click', runAll);
  setInterval(showClock, 1000);
  // A reload keeps the session, as long as the auth server still knows it.
  await refresh();
  if (session) user = { name: session.uid, plan: session.up.plan };
  showSession();
}

start();
