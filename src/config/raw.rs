//! The configuration as it is written: which fields there are and of what type, each with its
//! place. Says nothing about what they may hold; `compile` does.

use super::error::Place;
use super::reader::{At, Field, Fields, Node};
use crate::claim_headers::Encoding;
use crate::csrf::{CsrfMode, MissingOrigin};
use crate::policy::{Access, Forward, Mode, StateField};
use crate::provider::supertokens::{AntiCsrf, SigningKeys};
use crate::provider::{DuplicateCookies, OnConflict, ProviderId};

mod require;

pub(super) use require::{Require, Test};

pub(super) type Text<'a> = At<'a, &'a str>;
pub(super) type Texts<'a> = At<'a, Vec<Text<'a>>>;

/// The names on the way to a claim.
pub(super) type ClaimNames<'a> = At<'a, Vec<Text<'a>>>;

/// The whole configuration.
pub(super) struct Root<'a> {
    pub(super) providers: Option<At<'a, Vec<Provider<'a>>>>,
    /// Nothing stands for a rule that could not be read.
    pub(super) rules: Field<At<'a, Vec<Option<Rule<'a>>>>>,
    pub(super) default: Field<Decision<'a>>,
    pub(super) cookies: Field<Cookies<'a>>,
    pub(super) csrf: Field<Csrf<'a>>,
    pub(super) responses: Field<Responses<'a>>,
    pub(super) paths: Field<Paths<'a>>,
    pub(super) insecure_public_by_default: Field<At<'a, bool>>,
    pub(super) insecure_keep_override_headers: Field<At<'a, bool>>,
    pub(super) cache: Field<Cache<'a>>,
    pub(super) telemetry: Field<Telemetry<'a>>,
}

impl<'a> Root<'a> {
    pub(super) fn read(node: Node<'a>) -> Option<Self> {
        node.object(|fields| Self {
            providers: fields.required("providers", |node| {
                let name_one = format!("1 to {} providers are possible", ProviderId::MAX_PROVIDERS);
                node.some_list(&name_one, Provider::read)
            }),
            rules: fields.optional("rules", |node| node.list(|node| Some(Rule::read(node)))),
            default: fields.optional("default", |node| node.object(Decision::read)),
            cookies: fields.optional("cookies", Cookies::read),
            csrf: fields.optional("csrf", Csrf::read),
            responses: fields.optional("responses", Responses::read),
            paths: fields.optional("paths", Paths::read),
            insecure_public_by_default: fields.optional("insecure_public_by_default", Node::flag),
            insecure_keep_override_headers: fields
                .optional("insecure_keep_override_headers", Node::flag),
            cache: fields.optional("cache", Cache::read),
            telemetry: fields.optional("telemetry", Telemetry::read),
        })
    }
}

/// One entry of `providers`.
pub(super) struct Provider<'a> {
    pub(super) place: Place<'a>,
    pub(super) name: Option<Text<'a>>,
    pub(super) preset: Field<Preset<'a>>,
    pub(super) issuers: Field<Texts<'a>>,
    pub(super) insecure_any_issuer: Field<At<'a, bool>>,
    pub(super) audiences: Field<Texts<'a>>,
    pub(super) algorithms: Field<Texts<'a>>,
    pub(super) token_types: Field<Texts<'a>>,
    pub(super) clock_skew: Field<Text<'a>>,
    pub(super) max_lifetime: Field<Text<'a>>,
    pub(super) max_token_bytes: Field<At<'a, u64>>,
    pub(super) sources: Field<At<'a, Vec<Source<'a>>>>,
    pub(super) on_conflict: Field<At<'a, OnConflict>>,
    pub(super) duplicate_cookies: Field<At<'a, DuplicateCookies>>,
    pub(super) jwks: Option<Jwks<'a>>,
    pub(super) auth_time_claim: Field<ClaimNames<'a>>,
    pub(super) claim_headers: Field<At<'a, Vec<ClaimHeader<'a>>>>,
}

impl<'a> Provider<'a> {
    fn read(node: Node<'a>) -> Option<Self> {
        node.object(|fields| Self {
            place: fields.place,
            name: fields.required("name", Node::text),
            preset: fields.optional("preset", Preset::read),
            issuers: fields.optional("issuers", |node| {
                let if_empty = "name at least one issuer, or set insecure_any_issuer: true";
                node.some_list(if_empty, Node::some_text)
            }),
            insecure_any_issuer: fields.optional("insecure_any_issuer", Node::flag),
            audiences: fields.optional("audiences", |node| node.list(Node::some_text)),
            algorithms: fields.optional("algorithms", |node| {
                node.some_list("leave it out for the default", Node::text)
            }),
            token_types: fields.optional("token_types", |node| {
                node.some_list("leave it out for the default", Node::some_text)
            }),
            clock_skew: fields.optional("clock_skew", Node::text),
            max_lifetime: fields.optional("max_lifetime", Node::text),
            max_token_bytes: fields.optional("max_token_bytes", Node::whole),
            sources: fields.optional("sources", |node| {
                node.some_list("leave it out for the default", Source::read)
            }),
            on_conflict: fields.optional("on_conflict", |node| {
                node.choice(&[("first", OnConflict::First), ("reject", OnConflict::Reject)])
            }),
            duplicate_cookies: fields.optional("duplicate_cookies", |node| {
                let (reject, newest) = (DuplicateCookies::Reject, DuplicateCookies::Newest);
                node.choice(&[("reject", reject), ("newest", newest)])
            }),
            jwks: fields.required("jwks", Jwks::read),
            auth_time_claim: fields.optional("auth_time_claim", claim_names),
            claim_headers: fields.optional("claim_headers", |node| node.list(ClaimHeader::read)),
        })
    }
}

/// `preset`: the vendor whose sessions these are.
pub(super) enum Preset<'a> {
    Corbado(Corbado<'a>),
    SuperTokens(Box<SuperTokens<'a>>),
}

impl<'a> Preset<'a> {
    fn read(node: Node<'a>) -> Option<Self> {
        let place = node.place;
        let (corbado, supertokens) = node.object(|fields| {
            let corbado = fields.optional("corbado", Corbado::read);
            (corbado, fields.optional("supertokens", SuperTokens::read))
        })?;
        match (corbado, supertokens) {
            (Field::Given(raw), Field::Absent) => Some(Self::Corbado(raw)),
            (Field::Absent, Field::Given(raw)) => Some(Self::SuperTokens(Box::new(raw))),
            (Field::Bad, Field::Absent) | (Field::Absent, Field::Bad) => None,
            (Field::Absent, Field::Absent)
            | (Field::Given(_) | Field::Bad, Field::Given(_) | Field::Bad) => {
                place.error("must name exactly one vendor: corbado, supertokens");
                None
            }
        }
    }
}

/// `preset.corbado`
pub(super) struct Corbado<'a> {
    pub(super) project_id: Option<Text<'a>>,
    pub(super) frontend_api: Field<Text<'a>>,
}

impl<'a> Corbado<'a> {
    fn read(node: Node<'a>) -> Option<Self> {
        node.object(|fields| Self {
            project_id: fields.required("project_id", Node::text),
            frontend_api: fields.optional("frontend_api", Node::text),
        })
    }
}

/// `preset.supertokens`
pub(super) struct SuperTokens<'a> {
    pub(super) place: Place<'a>,
    pub(super) api_domain: Option<Text<'a>>,
    pub(super) website_domain: Field<Text<'a>>,
    pub(super) api_base_path: Field<Text<'a>>,
    pub(super) api_gateway_path: Field<Text<'a>>,
    pub(super) signing_keys: Field<At<'a, SigningKeys>>,
    pub(super) anti_csrf: Field<At<'a, AntiCsrf>>,
    pub(super) session_expired_status: Field<At<'a, u64>>,
    pub(super) invalid_claim_status: Field<At<'a, u64>>,
    /// Whether the auth server's routes are made public.
    pub(super) auth_routes: Field<At<'a, bool>>,
}

impl<'a> SuperTokens<'a> {
    pub(super) fn read(node: Node<'a>) -> Option<Self> {
        node.object(|fields| Self {
            place: fields.place,
            api_domain: fields.required("api_domain", Node::some_text),
            website_domain: fields.optional("website_domain", Node::some_text),
            api_base_path: fields.optional("api_base_path", Node::text),
            api_gateway_path: fields.optional("api_gateway_path", Node::text),
            signing_keys: fields.optional("signing_keys", |node| {
                node.choice(&[
                    ("dynamic", SigningKeys::Dynamic),
                    ("static", SigningKeys::Static),
                    ("any", SigningKeys::Any),
                ])
            }),
            anti_csrf: fields.optional("anti_csrf", |node| {
                node.choice(&[
                    ("none", AntiCsrf::None),
                    ("custom_header", AntiCsrf::CustomHeader),
                    ("token", AntiCsrf::Token),
                ])
            }),
            session_expired_status: fields.optional("session_expired_status", Node::whole),
            invalid_claim_status: fields.optional("invalid_claim_status", Node::whole),
            auth_routes: fields.optional("auth_routes", |node| {
                node.choice(&[("public", true), ("manual", false)])
            }),
        })
    }
}

/// One entry of `sources`.
pub(super) enum Source<'a> {
    Header { place: Place<'a>, name: Option<Text<'a>>, scheme: Field<Text<'a>> },
    Cookie { place: Place<'a>, name: Option<Text<'a>> },
}

impl<'a> Source<'a> {
    fn read(node: Node<'a>) -> Option<Self> {
        let place = node.place;
        let (header, cookie) = node.object(|fields| {
            let header = fields.optional("header", |node| {
                node.object(|fields| {
                    let name = fields.required("name", Node::text);
                    (name, fields.optional("scheme", Node::text))
                })
            });
            let cookie = fields.optional("cookie", |node| {
                node.object(|fields| fields.required("name", Node::text))
            });
            (header, cookie)
        })?;
        match (header, cookie) {
            (Field::Given((name, scheme)), Field::Absent) => {
                Some(Self::Header { place, name, scheme })
            }
            (Field::Absent, Field::Given(name)) => Some(Self::Cookie { place, name }),
            (Field::Absent, Field::Absent)
            | (Field::Given(_) | Field::Bad, Field::Given(_) | Field::Bad) => {
                place.error("must have exactly one of header, cookie");
                None
            }
            (Field::Bad, Field::Absent) | (Field::Absent, Field::Bad) => None,
        }
    }
}

/// `jwks`
pub(super) struct Jwks<'a> {
    pub(super) place: Place<'a>,
    /// An object or a text; the key set's own parser looks at it.
    pub(super) inline: Field<Node<'a>>,
    pub(super) remote: Field<RemoteJwks<'a>>,
}

impl<'a> Jwks<'a> {
    fn read(node: Node<'a>) -> Option<Self> {
        node.object(|fields| Self {
            place: fields.place,
            inline: fields.optional("inline", |node| {
                if node.value.is_object() || node.value.is_string() {
                    return Some(node);
                }
                node.wrong("a string with JSON or an object")
            }),
            remote: fields.optional("remote", RemoteJwks::read),
        })
    }
}

/// `jwks.remote`
pub(super) struct RemoteJwks<'a> {
    pub(super) place: Place<'a>,
    pub(super) uri: Field<Text<'a>>,
    pub(super) cluster: Option<Text<'a>>,
    pub(super) timeout: Field<Text<'a>>,
    pub(super) refresh: Field<Text<'a>>,
    pub(super) stale_if_error: Field<Text<'a>>,
    pub(super) headers: Field<Vec<(&'a str, Node<'a>)>>,
}

impl<'a> RemoteJwks<'a> {
    fn read(node: Node<'a>) -> Option<Self> {
        node.object(|fields| Self {
            place: fields.place,
            uri: fields.optional("uri", Node::text),
            cluster: fields.required("cluster", Node::some_text),
            timeout: fields.optional("timeout", Node::text),
            refresh: fields.optional("refresh", Node::text),
            stale_if_error: fields.optional("stale_if_error", Node::text),
            headers: fields.optional("headers", Node::members),
        })
    }
}

/// One entry of `claim_headers`.
pub(super) struct ClaimHeader<'a> {
    pub(super) header: Option<Text<'a>>,
    pub(super) claim: Option<At<'a, Vec<Text<'a>>>>,
    pub(super) encoding: Field<At<'a, Encoding>>,
}

impl<'a> ClaimHeader<'a> {
    fn read(node: Node<'a>) -> Option<Self> {
        node.object(|fields| Self {
            header: fields.required("header", Node::text),
            claim: fields.required("claim", claim_path),
            encoding: fields.optional("encoding", |node| {
                node.choice(&[
                    ("string", Encoding::String),
                    ("csv", Encoding::Csv),
                    ("json", Encoding::Json),
                    ("base64url_json", Encoding::Base64UrlJson),
                ])
            }),
        })
    }
}

/// A claim's name, or the way to it; the empty way is the whole payload.
fn claim_path(node: Node<'_>) -> Option<ClaimNames<'_>> {
    if node.value.is_array() {
        return node.list(Node::some_text);
    }
    if !node.value.is_string() {
        return node.wrong("a claim's name or a list of names");
    }
    let name = node.some_text()?;
    Some(At { place: name.place, value: vec![name] })
}

/// The same for one claim, not the whole payload.
fn claim_names(node: Node<'_>) -> Option<ClaimNames<'_>> {
    let names = claim_path(node)?;
    if names.value.is_empty() {
        names.error("must not be empty: name a claim");
        return None;
    }
    Some(names)
}

/// One entry of `rules`.
pub(super) struct Rule<'a> {
    pub(super) place: Place<'a>,
    pub(super) name: Field<Text<'a>>,
    pub(super) matches: Field<Match<'a>>,
    pub(super) require: Field<Require<'a>>,
    pub(super) max_auth_age: Field<Text<'a>>,
    pub(super) decision: Decision<'a>,
}

impl<'a> Rule<'a> {
    fn read(node: Node<'a>) -> Option<Self> {
        node.object(|fields| Self {
            place: fields.place,
            name: fields.optional("name", Node::text),
            matches: fields.optional("match", Match::read),
            require: fields.optional("require", Require::read),
            max_auth_age: fields.optional("max_auth_age", Node::text),
            decision: Decision::read(fields),
        })
    }
}

/// What a rule decides, and what `default` does.
pub(super) struct Decision<'a> {
    pub(super) access: Field<At<'a, Access>>,
    pub(super) forward: Field<At<'a, Forward>>,
    pub(super) providers: Field<Texts<'a>>,
    pub(super) mode: Field<At<'a, Mode>>,
    pub(super) insecure_forward_foreign: Field<At<'a, bool>>,
}

impl<'a> Decision<'a> {
    fn read(fields: &mut Fields<'a>) -> Self {
        Self {
            access: fields.optional("access", |node| {
                node.choice(&[
                    ("required", Access::Required),
                    ("optional", Access::Optional),
                    ("public", Access::Public),
                    ("denied", Access::Denied),
                ])
            }),
            forward: fields.optional("forward", |node| {
                node.choice(&[
                    ("bearer", Forward::Bearer),
                    ("verify_only", Forward::VerifyOnly),
                    ("strip", Forward::Strip),
                ])
            }),
            providers: fields.optional("providers", |node| node.list(Node::text)),
            mode: fields.optional("mode", |node| {
                node.choice(&[("enforce", Mode::Enforce), ("report", Mode::Report)])
            }),
            insecure_forward_foreign: fields.optional("insecure_forward_foreign", Node::flag),
        }
    }
}

/// `match`
pub(super) struct Match<'a> {
    pub(super) hosts: Field<Texts<'a>>,
    pub(super) methods: Field<Texts<'a>>,
    pub(super) path: Field<Path<'a>>,
}

impl<'a> Match<'a> {
    fn read(node: Node<'a>) -> Option<Self> {
        node.object(|fields| Self {
            hosts: fields.optional("hosts", |node| {
                node.some_list("leave it out to match every host", Node::text)
            }),
            methods: fields.optional("methods", |node| {
                node.some_list("leave it out to match every method", Node::text)
            }),
            path: fields.optional("path", Path::read),
        })
    }
}

/// `match.path`
pub(super) struct Path<'a> {
    pub(super) shape: PathShape,
    pub(super) text: Text<'a>,
    pub(super) strict: Field<At<'a, bool>>,
}

/// Which of its fields `match.path` has.
#[derive(Clone, Copy)]
pub(super) enum PathShape {
    Exact,
    Prefix,
    Suffix,
    Template,
}

impl<'a> Path<'a> {
    fn read(node: Node<'a>) -> Option<Self> {
        let place = node.place;
        let (mut shapes, strict) = node.object(|fields| {
            let shapes = [
                (PathShape::Exact, fields.optional("exact", Node::text)),
                (PathShape::Prefix, fields.optional("prefix", Node::text)),
                (PathShape::Suffix, fields.optional("suffix", Node::text)),
                (PathShape::Template, fields.optional("template", Node::text)),
            ];
            (Vec::from(shapes), fields.optional("strict", Node::flag))
        })?;
        shapes.retain(|(_, field)| !matches!(field, Field::Absent));
        if shapes.len() != 1 {
            place.error("must have exactly one of exact, prefix, suffix, template");
            return None;
        }
        let (shape, text) = shapes.pop()?;
        Some(Self { shape, text: text.given()?, strict })
    }
}

/// `cookies`
pub(super) struct Cookies<'a> {
    /// Nothing stands for an entry that could not be read.
    pub(super) share_domain: Field<At<'a, Vec<Option<SharedCookie<'a>>>>>,
    pub(super) expire_older_domains: Field<Texts<'a>>,
    pub(super) path: Field<Text<'a>>,
    pub(super) strip: Field<Texts<'a>>,
}

impl<'a> Cookies<'a> {
    fn read(node: Node<'a>) -> Option<Self> {
        node.object(|fields| Self {
            share_domain: fields
                .optional("share_domain", |node| node.list(|node| Some(SharedCookie::read(node)))),
            expire_older_domains: fields
                .optional("expire_older_domains", |node| node.list(Node::text)),
            path: fields.optional("path", Node::text),
            strip: fields.optional("strip", |node| node.list(Node::text)),
        })
    }
}

/// One entry of `cookies.share_domain`.
pub(super) struct SharedCookie<'a> {
    pub(super) name: Option<Text<'a>>,
    pub(super) domain: Option<Text<'a>>,
    pub(super) expire_host_only: Field<At<'a, bool>>,
}

impl<'a> SharedCookie<'a> {
    fn read(node: Node<'a>) -> Option<Self> {
        node.object(|fields| Self {
            name: fields.required("name", Node::text),
            domain: fields.required("domain", Node::text),
            expire_host_only: fields.optional("expire_host_only", Node::flag),
        })
    }
}

/// `csrf`
pub(super) struct Csrf<'a> {
    pub(super) mode: Field<At<'a, CsrfMode>>,
    pub(super) allowed_origins: Field<Texts<'a>>,
    pub(super) missing_origin: Field<At<'a, MissingOrigin>>,
}

impl<'a> Csrf<'a> {
    fn read(node: Node<'a>) -> Option<Self> {
        node.object(|fields| Self {
            mode: fields.optional("mode", |node| {
                node.choice(&[
                    ("enforce", CsrfMode::Enforce),
                    ("report", CsrfMode::Report),
                    ("insecure_off", CsrfMode::InsecureOff),
                ])
            }),
            allowed_origins: fields.optional("allowed_origins", |node| node.list(Node::text)),
            missing_origin: fields.optional("missing_origin", |node| {
                node.choice(&[("allow", MissingOrigin::Allow), ("deny", MissingOrigin::Deny)])
            }),
        })
    }
}

/// `responses`
pub(super) struct Responses<'a> {
    pub(super) realm: Field<Text<'a>>,
    pub(super) login_url: Field<Text<'a>>,
    pub(super) return_hosts: Field<Texts<'a>>,
    pub(super) cors_origins: Field<Texts<'a>>,
}

impl<'a> Responses<'a> {
    fn read(node: Node<'a>) -> Option<Self> {
        node.object(|fields| Self {
            realm: fields.optional("realm", Node::some_text),
            login_url: fields.optional("login_url", Node::some_text),
            return_hosts: fields.optional("return_hosts", |node| {
                node.some_list("leave it out for the default", Node::text)
            }),
            cors_origins: fields.optional("cors_origins", |node| node.list(Node::text)),
        })
    }
}

/// `paths`
pub(super) struct Paths<'a> {
    pub(super) insecure_allow: Field<Texts<'a>>,
}

impl<'a> Paths<'a> {
    fn read(node: Node<'a>) -> Option<Self> {
        node.object(|fields| Self {
            insecure_allow: fields.optional("insecure_allow", |node| node.list(Node::text)),
        })
    }
}

/// `cache`
pub(super) struct Cache<'a> {
    pub(super) entries: Field<At<'a, u64>>,
    pub(super) bytes: Field<Text<'a>>,
}

impl<'a> Cache<'a> {
    fn read(node: Node<'a>) -> Option<Self> {
        node.object(|fields| Self {
            entries: fields.optional("entries", Node::whole),
            bytes: fields.optional("bytes", Node::text),
        })
    }
}

/// `telemetry`
pub(super) struct Telemetry<'a> {
    pub(super) filter_state: Field<At<'a, Vec<At<'a, StateField>>>>,
    pub(super) log_denials: Field<At<'a, bool>>,
}

impl<'a> Telemetry<'a> {
    fn read(node: Node<'a>) -> Option<Self> {
        node.object(|fields| Self {
            filter_state: fields.optional("filter_state", |node| {
                let choices = StateField::ALL.map(|field| (field.name(), field));
                node.list(|node| node.choice(&choices))
            }),
            log_denials: fields.optional("log_denials", Node::flag),
        })
    }
}
