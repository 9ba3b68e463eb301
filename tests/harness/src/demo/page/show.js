// What all pages of the demo show alike: elements, tokens, one request's headers and its answer.

const SESSION_COOKIES = ['cbo_session_token', 'sAccessToken'];

export const $ = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** The pages of the demo, one a scenario: [{ title, origin }]. */
export function showScenarios(pages) {
  $('scenarios').replaceChildren(...pages.map(({ title, origin }) => el('a', {
    href: origin, 'aria-current': origin === location.origin ? 'page' : null,
  }, title)));
}

// ---------------------------------------------------------------- Tokens and echoes

export const decode = (part) => JSON.parse(new TextDecoder().decode(
  Uint8Array.from(atob(part.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0))));
export const headerOf = (token) => decode(token.split('.')[0]);
export const claimsOf = (token) => decode(token.split('.')[1]);

const holdsSession = (value) => SESSION_COOKIES.some((name) => value?.includes(name));

/** A backend's echo is { backend, method, path, headers: [[name, value]], next? }. */
export const echoOf = (body) => (body && Array.isArray(body.headers) ? body : null);
export const received = (echo, name) => echo.headers.filter(([n]) => n === name).map(([, v]) => v);

// ---------------------------------------------------------------- A request, and what came of it

export function statusLine(exchange) {
  const reason = exchange.body?.reason ?? exchange.body?.next?.body?.reason ?? exchange.body?.message;
  return el('div', { class: 'line' },
    el('span', { class: 'url' }, `${exchange.method ?? 'GET'} ${exchange.url}`),
    exchange.preflight && el('span', { class: 'pill', title: 'The browser asked with OPTIONS first; Envoy’s CORS filter answered.' }, 'after a preflight'),
    el('span', { class: 'dim' }, `${exchange.ms.toFixed(exchange.ms < 10 ? 1 : 0)} ms`),
    reason && el('span', { class: 'pill bad' }, reason),
    el('span', { class: `pill ${exchange.status >= 200 && exchange.status < 300 ? 'good' : exchange.status >= 300 && exchange.status < 400 ? '' : 'bad'}` },
      `${exchange.status || ''} ${exchange.statusText}`.trim()));
}

/** Headers that tell the story come first; the rest is one click away. */
const STORY = ['host', 'origin', 'authorization', 'cookie', 'x-user-id', 'x-user-plan', 'x-user-roles'];

export function side(title, headers, { token, before, after }) {
  const rank = (name) => (STORY.includes(name) ? STORY.indexOf(name) : 99);
  const story = headers.filter(([name]) => rank(name) < 99).sort(([a], [b]) => rank(a) - rank(b));
  const rest = headers.filter(([name]) => rank(name) === 99);
  return el('section', { class: 'side' },
    el('h3', {}, title),
    el('dl', {}, story.map(([name, value]) => {
      const was = before?.find(([n]) => n === name)?.[1];
      const will = after?.find(([n]) => n === name)?.[1];
      let mark = null;
      if (before && name !== 'host' && was !== value) {
        const stripped = name === 'cookie' && holdsSession(was);
        mark = ['new', stripped ? 'session stripped' : name === 'authorization' ? (was ? 'replaced' : 'moved here') : name.startsWith('x-user') ? 'verified claim' : 'changed'];
      }
      if (after && name === 'cookie' && holdsSession(value)) mark = ['moved', 'session taken out'];
      if (after && name !== 'host' && name !== 'cookie' && name !== 'authorization' && name !== 'origin' && will !== value) mark = ['gone', 'removed'];
      return el('div', { class: mark?.[0] ?? null },
        el('dt', {}, name, mark && el('i', {}, mark[1])),
        el('dd', {}, mark?.[0] === 'gone' ? el('s', {}, value) : shortened(value, token)));
    })),
    rest.length > 0 && el('details', {}, el('summary', {}, `${rest.length} more header${rest.length > 1 ? 's' : ''}`),
      el('dl', {}, rest.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, shortened(value, token)))))));
}

export function refused(title, reason, sentence) {
  return el('section', { class: 'side' }, el('h3', {}, title),
    el('div', { class: 'nothing' }, el('b', { class: 'mono' }, reason ?? 'refused'), el('span', {}, sentence)));
}

/** Tokens inside a value become short chips; the case's own token has the accent's colour. */
export function shortened(value, token) {
  return value.split(/([\w-]{8,}\.[\w-]{8,}\.[\w-]*)/).map((part, index) => (index % 2 === 0 ? part
    : el('span', { class: `jwt${part === token ? '' : ' off'}`, title: part }, `${part.slice(0, 8)}…${part.slice(-6)}`)));
}

export function answerCard(exchange) {
  const echo = echoOf(exchange.body);
  const body = exchange.body ? JSON.stringify(echo ? { ...echo, headers: `${echo.headers.length} headers, see above`, next: echo.next && { status: echo.next.status } } : exchange.body, null, 2) : exchange.text;
  return el('details', { open: true },
    el('summary', {}, 'The answer'),
    el('pre', {}, exchange.headers.map(([name, value]) => [el('b', {}, `${name}: `), `${value}\n`]).flat(), '\n', body));
}
