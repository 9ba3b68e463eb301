//! Who is measured: no filter, ours in several configurations, the floor, and the peers.
//!
//! The peers are set up as well as they can be: Lua runs first, so that `jwt_authn` reads the
//! header, which is cheaper for it than the cookie; the script goes over the cookies once.
//! The same job is: verify, put the token into `authorization`, take its cookie away and leave the
//! others, take out the headers by which a client makes a backend see another path.

use serde_json::{Value, json};

use super::folder;
use super::workload::{CHECK_PATH, COOKIE, PROJECT, Session, Shape, issuer};
use crate::bootstrap::{Listener, Route, WasmFilter};

/// One listener, and what it is there for.
pub(super) struct Contestant {
    /// Of the listener too.
    pub(super) name: &'static str,
    /// For a table.
    pub(super) title: &'static str,
    pub(super) listener: Listener,
    pub(super) job: Job,
    pub(super) cache: Cache,
    /// What it is measured with.
    pub(super) shapes: &'static [Shape],
    pub(super) token: Algorithm,
}

/// What a backend gets of a request with a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Job {
    /// What the client sent, verified or not.
    LetThrough,
    /// What the client sent, and nothing of a forged token.
    Verify,
    /// The token in `authorization`, and nothing of a forged one.
    Move,
    /// That, and no cookie with the token.
    MoveAndStrip,
    /// That, and no header that makes a backend see another path than the rules did: the whole job.
    MoveStripSanitize,
    /// That, and the user in `x-user-id`.
    MoveStripAndTell,
    /// Constants in `authorization` and `cookie`.
    WriteConstants,
}

/// Where its verdicts come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cache {
    /// There are no verdicts.
    None,
    /// Our cache, which has counters.
    Ours { used: bool },
    /// The cache of `jwt_authn`, which has counters too.
    JwtAuthn { used: bool },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Algorithm {
    Rs256,
    Es256,
}

impl Contestant {
    pub(super) fn new(name: &'static str, title: &'static str, listener: Listener) -> Self {
        Self {
            name,
            title,
            listener,
            job: Job::MoveStripSanitize,
            cache: Cache::Ours { used: true },
            shapes: &[Shape::Plain],
            token: Algorithm::Rs256,
        }
    }

    pub(super) fn token<'s>(&self, session: &'s Session) -> &'s str {
        match self.token {
            Algorithm::Rs256 => &session.rs256,
            Algorithm::Es256 => &session.es256,
        }
    }

    pub(super) fn does(self, job: Job, cache: Cache) -> Self {
        Self { job, cache, ..self }
    }

    fn with(self, shapes: &'static [Shape]) -> Self {
        Self { shapes, ..self }
    }

    fn es256(self) -> Self {
        Self { token: Algorithm::Es256, ..self }
    }
}

/// Everybody; three VMs.
pub(super) fn all(session: &Session) -> Vec<Contestant> {
    let jwks = &session.jwks();
    let mut contestants = vec![base(), ours(session), floor()];
    contestants.extend(variants(jwks));
    contestants.extend(peers(&jwks.to_string()));
    contestants
}

/// No filter.
pub(super) fn base() -> Contestant {
    Contestant::new(BASE, "no filter", listener(BASE)).does(Job::LetThrough, Cache::None).with(&[
        Shape::Plain,
        Shape::Browser,
        Shape::Bearer,
    ])
}

/// The whole job, in a VM of its own.
pub(super) fn ours(session: &Session) -> Contestant {
    let filter = ours_filter("job", corbado(&session.jwks()));
    Contestant::new(OURS, "this filter: the same job", listener(OURS).filter(filter))
        .with(&[Shape::Plain, Shape::Browser])
}

/// Our filter in the VM of this name.
pub(super) fn ours_filter(vm: &str, configuration: Value) -> WasmFilter {
    WasmFilter::new().vm_id(vm).configuration(configuration)
}

/// One provider and one rule, everything else denied.
fn corbado(jwks: &Value) -> Value {
    json!({
        "providers": [{
            "name": "corbado",
            "preset": { "corbado": { "project_id": PROJECT } },
            "jwks": { "inline": jwks },
        }],
        "rules": rules(1),
        "default": { "access": "denied" },
    })
}

fn floor() -> Contestant {
    let module = folder().join("floor.wasm");
    let filter =
        WasmFilter::new().vm_id("floor").module(&module).plugin_with(json!({ "name": "floor" }));
    let title = "floor: a Wasm filter that writes constants";
    Contestant::new(FLOOR, title, listener(FLOOR).filter(filter))
        .does(Job::WriteConstants, Cache::None)
}

/// Ours, otherwise configured. All in one VM.
pub(super) fn variants(jwks: &Value) -> Vec<Contestant> {
    let variant = |name, title, change: &dyn Fn(&mut Value)| {
        let mut configuration = corbado(jwks);
        change(&mut configuration);
        let filter = ours_filter("variants", configuration);
        Contestant::new(name, title, listener(name).filter(filter))
    };
    let uncached = Cache::Ours { used: false };
    vec![
        variant(OURS_CLAIMS, "this filter, and a claim in a header", &|all| {
            all["providers"][0]["claim_headers"] =
                json!([{ "header": "x-user-id", "claim": "sub" }]);
        })
        .does(Job::MoveStripAndTell, Cache::Ours { used: true }),
        variant(OURS_VERIFY, "this filter, verify_only, token in the header", &|all| {
            all["rules"][0]["forward"] = json!("verify_only");
        })
        .does(Job::Verify, Cache::Ours { used: true })
        .with(&[Shape::Bearer]),
        variant(OURS_PUBLIC, "this filter, a public rule", &|all| {
            all["rules"][0]["access"] = json!("public");
        })
        .does(Job::LetThrough, Cache::None),
        variant(OURS_RULES, "this filter, 1,000 rules, the last matches", &|all| {
            all["rules"] = json!(rules(1_000));
        }),
        variant(OURS_UNCACHED, "this filter, uncached RS256", &|all| {
            all["cache"] = json!({ "entries": 0 });
        })
        .does(Job::MoveStripSanitize, uncached),
        variant(OURS_ES256, "this filter, uncached ES256", &|all| {
            all["cache"] = json!({ "entries": 0 });
            all["providers"] = json!([{
                "name": "es256",
                "issuers": [issuer()],
                "algorithms": ["ES256"],
                "sources": [{ "cookie": { "name": COOKIE } }],
                "jwks": { "inline": jwks },
            }]);
        })
        .does(Job::MoveStripSanitize, uncached)
        .es256(),
    ]
}

/// So many rules, of which the last one matches.
pub(super) fn rules(count: usize) -> Vec<Value> {
    let rule =
        |prefix: String| json!({ "match": { "path": { "prefix": prefix } }, "access": "required" });
    let others = (1..count).map(|number| rule(format!("/service-{number}/api")));
    others.chain([rule("/orders".to_owned())]).collect()
}

fn peers(jwks: &str) -> Vec<Contestant> {
    let cookie = || json!({ "from_cookies": [COOKIE] });
    let header =
        || json!({ "from_headers": [{ "name": "authorization", "value_prefix": "Bearer " }] });
    let cached = Cache::JwtAuthn { used: true };
    let uncached = Cache::JwtAuthn { used: false };
    let jwt = |source: Value, cached| jwt_authn(jwks, source, cached);
    vec![
        Contestant::new(
            LUA,
            "Lua + jwt_authn, cached: the same job",
            listener(LUA).raw_filter(lua(true)).raw_filter(jwt(header(), true)),
        )
        .does(Job::MoveStripSanitize, cached)
        .with(&[Shape::Plain, Shape::Browser]),
        Contestant::new(
            LUA_LESS,
            "Lua + jwt_authn, cached: moves, strips, sanitises nothing",
            listener(LUA_LESS).raw_filter(lua(false)).raw_filter(jwt(header(), true)),
        )
        .does(Job::MoveAndStrip, cached)
        .with(&[Shape::Plain, Shape::Browser]),
        Contestant::new(
            NATIVE,
            "header_to_metadata + header_mutation + jwt_authn, cached: moves",
            listener(NATIVE)
                .raw_filter(header_to_metadata())
                .raw_filter(header_mutation())
                .raw_filter(jwt(header(), true)),
        )
        .does(Job::Move, cached)
        .with(&[Shape::Plain, Shape::Browser]),
        Contestant::new(
            JWT_COOKIE,
            "jwt_authn, cached, reads the cookie",
            listener(JWT_COOKIE).raw_filter(jwt(cookie(), true)),
        )
        .does(Job::Verify, cached)
        .with(&[Shape::Plain, Shape::Browser]),
        Contestant::new(
            JWT_HEADER,
            "jwt_authn, cached, reads the header",
            listener(JWT_HEADER).raw_filter(jwt(header(), true)),
        )
        .does(Job::Verify, cached)
        .with(&[Shape::Bearer]),
        Contestant::new(
            JWT_COOKIE_UNCACHED,
            "jwt_authn, uncached RS256, reads the cookie",
            listener(JWT_COOKIE_UNCACHED).raw_filter(jwt(cookie(), false)),
        )
        .does(Job::Verify, uncached),
        Contestant::new(
            JWT_HEADER_UNCACHED,
            "jwt_authn, uncached RS256, reads the header",
            listener(JWT_HEADER_UNCACHED).raw_filter(jwt(header(), false)),
        )
        .does(Job::Verify, uncached)
        .with(&[Shape::Bearer]),
        Contestant::new(
            JWT_ES256,
            "jwt_authn, uncached ES256, reads the cookie",
            listener(JWT_ES256).raw_filter(jwt(cookie(), false)),
        )
        .does(Job::Verify, uncached)
        .es256(),
    ]
}

/// A listener without a filter: one path to the backend, the rest answered by Envoy.
pub(super) fn listener(name: &str) -> Listener {
    Listener::new(name)
        .route(Route::prefix(CHECK_PATH).to("app"))
        .route(Route::prefix("/").direct(200, "ok"))
        .manager_with(json!({ "access_log": Value::Array(Vec::new()) }))
}

fn jwt_authn(jwks: &str, source: Value, cached: bool) -> Value {
    let mut provider = source;
    provider["issuer"] = json!(issuer());
    provider["local_jwks"] = json!({ "inline_string": jwks });
    provider["forward"] = json!(true);
    if cached {
        provider["jwt_cache_config"] = json!({ "jwt_cache_size": 100 });
    }
    filter(
        "jwt_authn.v3.JwtAuthentication",
        json!({
            "providers": { "corbado": provider },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "corbado" } }],
        }),
    )
}

fn lua(sanitize: bool) -> Value {
    let script = format!("local SANITIZE = {sanitize}\n{SCRIPT}");
    filter("lua.v3.Lua", json!({ "default_source_code": { "inline_string": script } }))
}

fn header_to_metadata() -> Value {
    filter(
        "header_to_metadata.v3.Config",
        json!({ "request_rules": [{
        "cookie": COOKIE,
        "on_header_present": { "metadata_namespace": "session", "key": "token", "type": "STRING" },
    }] }),
    )
}

fn header_mutation() -> Value {
    filter(
        "header_mutation.v3.HeaderMutation",
        json!({ "mutations": { "request_mutations": [{
        "append": {
            "header": {
                "key": "authorization",
                "value": "Bearer %DYNAMIC_METADATA(session:token)%",
            },
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        },
    }] } }),
    )
}

fn filter(kind: &str, mut fields: Value) -> Value {
    let name = kind.split('.').next().unwrap_or_default();
    fields["@type"] = json!(format!("type.googleapis.com/envoy.extensions.filters.http.{kind}"));
    json!({ "name": format!("envoy.filters.http.{name}"), "typed_config": fields })
}

/// Moves the session's cookie into `authorization`; without one, `jwt_authn` verifies the bearer
/// that the client sent. Headers may not be removed while they are gone through.
const SCRIPT: &str = r#"
local OVERRIDES = {
  ["x-original-url"] = true,
  ["x-rewrite-url"] = true,
}

local function sanitize(headers)
  local found = nil
  for name in pairs(headers) do
    -- All of them begin with an x; without this, each request costs half as much again.
    if name:byte(1) == 120 and OVERRIDES[(name:gsub("[_.]", "-"))] then
      found = found or {}
      found[#found + 1] = name
    end
  end
  for _, name in ipairs(found or {}) do
    headers:remove(name)
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  if SANITIZE then
    sanitize(headers)
  end
  local cookie = headers:get("cookie")
  if cookie == nil then
    return
  end
  local token = nil
  local rest = {}
  for name, value in cookie:gmatch("%s*([^=;]+)=([^;]*)") do
    if name == "cbo_session_token" then
      token = value
    else
      rest[#rest + 1] = name .. "=" .. value
    end
  end
  if token == nil then
    return
  end
  headers:replace("authorization", "Bearer " .. token)
  if #rest > 0 then
    headers:replace("cookie", table.concat(rest, "; "))
  else
    headers:remove("cookie")
  end
end
"#;

pub(super) const BASE: &str = "base";
pub(super) const OURS: &str = "ours";
pub(super) const OURS_CLAIMS: &str = "ours_claims";
pub(super) const OURS_VERIFY: &str = "ours_verify_only";
pub(super) const OURS_PUBLIC: &str = "ours_public";
pub(super) const OURS_RULES: &str = "ours_1000_rules";
pub(super) const OURS_UNCACHED: &str = "ours_uncached";
pub(super) const OURS_ES256: &str = "ours_es256";
pub(super) const FLOOR: &str = "floor";
pub(super) const LUA: &str = "lua";
pub(super) const LUA_LESS: &str = "lua_less";
pub(super) const NATIVE: &str = "native";
pub(super) const JWT_COOKIE: &str = "jwt_cookie";
pub(super) const JWT_HEADER: &str = "jwt_header";
pub(super) const JWT_COOKIE_UNCACHED: &str = "jwt_cookie_uncached";
pub(super) const JWT_HEADER_UNCACHED: &str = "jwt_header_uncached";
pub(super) const JWT_ES256: &str = "jwt_es256";
