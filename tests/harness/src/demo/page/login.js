// The login page: `/login?return_to=URL`, where the filter sends people without a session.
//
// The session may only have run out: then a refresh is enough, and nobody is asked anything.

const places = await (await fetch('/assets/flows.json')).json();
const auth = location.origin === places.by_path ? location.origin : places.api;
const form = document.getElementById('login');
const back = whereTo(new URLSearchParams(location.search).get('return_to'));
document.getElementById('back').textContent = back;

/** Only to our own pages: anyone can link to this one with any `return_to`. */
function whereTo(text) {
  const url = URL.parse(text ?? '/', location.origin);
  return url && [places.shared, places.by_path].includes(url.origin) ? url.href : `${location.origin}/`;
}

async function post(path, body) {
  const answer = await fetch(auth + path, {
    method: 'POST',
    credentials: 'include',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return answer.ok;
}

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const fields = new FormData(form);
  if (await post('/auth/signin', { name: fields.get('name'), plan: fields.get('plan') })) {
    location.replace(back);
  }
});

if (await post('/auth/session/refresh', {})) location.replace(back);
else form.hidden = false;
