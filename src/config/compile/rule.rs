//! Rules: what they match, what they inherit from `default`, and whether they leave anything
//! protected.

use std::rc::Rc;

use super::{all, require, warn_if_set};
use crate::authorize::Demands;
use crate::claim_headers::ClaimPath;
use crate::config::error::{Place, quoted};
use crate::config::raw::{self, PathShape};
use crate::config::reader::{At, Field, nearest};
use crate::kept_claims::ClaimPaths;
use crate::matcher::{HostPattern, InvalidPath, Method, PathPattern, RuleMatch, Width};
use crate::path::{NormalPath, PathPolicy};
use crate::policy::{Access, Forward, Mode, Rule};
use crate::provider::{Provider, ProviderId};

/// All rules in order, and the default.
///
/// `auth_routes` are those of the presets. On their host they come before all rules but explicit
/// ones whose path lies below theirs; elsewhere rules stay in their order. `insecure_public` allows
/// a configuration that protects no path; nothing: it can't be told. The claims that rules ask about
/// join `kept`.
pub(super) fn compile(
    rules: Field<At<'_, Vec<Option<raw::Rule<'_>>>>>,
    default: Field<raw::Decision<'_>>,
    names: &ProviderNames,
    paths: PathPolicy,
    auth_routes: Vec<(Rc<str>, ProviderId, AuthRoutes<'_>)>,
    insecure_public: Option<bool>,
    kept: &mut ClaimPaths,
) -> Option<(Vec<Rule>, Rule)> {
    let default_access = match &default {
        Field::Given(raw) => raw.access.as_given().map(|access| access.place),
        Field::Absent | Field::Bad => None,
    };
    let built_in = Decision {
        access: Access::default(),
        forward: Forward::default(),
        providers: names.all(),
        mode: Mode::default(),
        insecure_forward_foreign: false,
    };
    let default = default
        .read_or(Some(built_in.clone()), |raw| Some(compile_decision(raw, &built_in, names)))
        .flatten();
    // Rules are looked at all the same while `default` has an error.
    let inherited =
        Inherited { is_clear: default.is_some(), decision: default.clone().unwrap_or(built_in) };
    let rules = rules.read_or(Vec::new(), |rules| {
        let compiled = rules.value.into_iter();
        all(compiled.map(|raw| compile_rule(raw?, &inherited, names, paths, kept)))
    });
    let (rules, default) = (rules?, default?);
    let rules = with_auth_routes(rules, auth_routes)?;

    warn_of_covered_rules(&rules);
    check_that_something_is_protected(&rules, default.access, default_access, insecure_public?);
    let rules = rules.into_iter().map(|compiled| compiled.rule).collect();
    Some((rules, default.into_rule("default".into(), RuleMatch::everything(), Demands::default())))
}

/// Where an auth server answers that must see requests as they come.
pub(super) struct AuthRoutes<'a> {
    /// The preset that knows of it.
    pub(super) place: Place<'a>,
    pub(super) host: HostPattern,
    pub(super) path: Box<str>,
}

/// The names by which rules refer to providers.
pub(super) struct ProviderNames {
    /// Nothing stands for a list that could not be read: then every name passes.
    names: Option<Vec<Option<Box<str>>>>,
    /// The claims that tell when a user logged in; nothing as long as they are not known.
    auth_times: Option<Vec<Option<ClaimPath>>>,
}

impl ProviderNames {
    /// Nothing stands for a list that could not be read.
    pub(super) fn new(providers: Option<&[raw::Provider<'_>]>) -> Self {
        let name =
            |provider: &raw::Provider<'_>| provider.name.as_ref().map(|name| name.value.into());
        let names = providers.map(|providers| providers.iter().map(name).collect());
        Self { names, auth_times: None }
    }

    /// Takes over which claims tell when a user logged in.
    pub(super) fn learn_auth_times(&mut self, providers: Option<&[Provider]>) {
        let claim = |provider: &Provider| provider.auth_time_claim.clone();
        self.auth_times = providers.map(|providers| providers.iter().map(claim).collect());
    }

    /// The claim that tells it of this provider's users; an error at `place` if there is none.
    pub(super) fn auth_time_claim(&self, id: ProviderId, place: &Place<'_>) -> Option<&ClaimPath> {
        let claim = self.auth_times.as_ref()?.get(id.index())?.as_ref();
        if claim.is_none() {
            let name = self.names.as_ref().and_then(|names| names.get(id.index())?.as_deref());
            place.error(format!(
                "provider {} has no auth_time_claim: its vendor renews iat at every refresh, so \
                 name the claim that tells when the user logged in",
                quoted(name.unwrap_or_default())
            ));
        }
        claim
    }

    fn all(&self) -> Vec<ProviderId> {
        let count = self.names.as_ref().map_or(0, Vec::len);
        (0..count).filter_map(ProviderId::new).collect()
    }

    fn find(&self, name: &raw::Text<'_>) -> Option<ProviderId> {
        let names = self.names.as_ref()?;
        let place = names.iter().position(|other| other.as_deref() == Some(name.value));
        if place.is_none() {
            let known = || names.iter().flatten().map(|name| &**name);
            name.refuse(&match nearest(name.value, known()) {
                Some(near) => format!("is no provider; did you mean {}?", quoted(near)),
                None => {
                    let known: Vec<_> = known().map(quoted).collect();
                    format!("is no provider; known are {}", known.join(", "))
                }
            });
        }
        place.and_then(ProviderId::new)
    }
}

/// What a rule does with what it matches.
#[derive(Clone)]
struct Decision {
    access: Access,
    forward: Forward,
    providers: Vec<ProviderId>,
    mode: Mode,
    insecure_forward_foreign: bool,
}

impl Decision {
    fn into_rule(self, name: Rc<str>, matches: RuleMatch, demands: Demands) -> Rule {
        let Self { access, forward, providers, mode, insecure_forward_foreign } = self;
        Rule { name, matches, access, forward, providers, demands, mode, insecure_forward_foreign }
    }
}

/// What rules get from `default`.
struct Inherited {
    decision: Decision,
    /// Whether there is no error in it.
    is_clear: bool,
}

/// What `raw` says, and for the rest what `inherited` does.
fn compile_decision(
    raw: raw::Decision<'_>,
    inherited: &Decision,
    names: &ProviderNames,
) -> Option<Decision> {
    let raw::Decision { access, forward, providers, mode, insecure_forward_foreign } = raw;
    if let Field::Given(At { place, value: Mode::Report }) = &mode {
        place.warning("nothing is refused here: requests without a good session are only counted");
    }
    warn_if_set(
        &insecure_forward_foreign,
        "bearers that nobody verified reach backends where no credential is needed",
    );
    let providers = providers.read_or(inherited.providers.clone(), |listed| {
        let mut found = Vec::new();
        for name in &listed.value {
            let provider = names.find(name);
            if provider.is_some_and(|provider| found.contains(&Some(provider))) {
                name.refuse("is listed twice");
            }
            found.push(provider);
        }
        if found.is_empty() { Some(names.all()) } else { all(found.into_iter()) }
    });
    Some(Decision {
        access: access.value_or(inherited.access)?,
        forward: forward.value_or(inherited.forward)?,
        providers: providers?,
        mode: mode.value_or(inherited.mode)?,
        insecure_forward_foreign: insecure_forward_foreign
            .value_or(inherited.insecure_forward_foreign)?,
    })
}

/// A rule, and what the checks of all rules together need.
struct CompiledRule<'a> {
    place: Place<'a>,
    rule: Rule,
    /// What it matches in the spelling of its patterns alone.
    plain: RuleMatch,
    /// Whether it is there for a preset's sake: the preset's own, or a copy of an explicit one.
    is_implicit: bool,
}

impl CompiledRule<'_> {
    /// A copy of it for this host alone; nothing if it decides nothing there.
    fn on_host(&self, host: &HostPattern) -> Option<Self> {
        let Self { place, rule, plain, is_implicit: _ } = self;
        let (matches, plain) = (rule.matches.on_host(host)?, plain.on_host(host)?);
        let rule = Rule { matches, ..rule.clone() };
        Some(Self { place: *place, rule, plain, is_implicit: true })
    }
}

fn compile_rule<'a>(
    raw: raw::Rule<'a>,
    inherited: &Inherited,
    names: &ProviderNames,
    paths: PathPolicy,
    kept: &mut ClaimPaths,
) -> Option<CompiledRule<'a>> {
    let Inherited { decision: inherited, is_clear } = inherited;
    let raw::Rule { place, name, matches, require, max_auth_age, decision } = raw;
    let name = name.read_or(place.path().into(), |name| {
        let well_formed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if !(1..=64).contains(&name.value.len()) || !name.value.bytes().all(well_formed) {
            name.refuse("must be 1 to 64 letters, digits, _, . and -");
            return None;
        }
        Some(Rc::from(name.value))
    });
    fn clear<T: Copy>(field: &Field<At<'_, T>>, inherited: Option<T>) -> Option<T> {
        match field {
            Field::Absent => inherited,
            Field::Bad => None,
            Field::Given(at) => Some(at.value),
        }
    }
    let access = clear(&decision.access, is_clear.then_some(inherited.access));
    let mode = clear(&decision.mode, is_clear.then_some(inherited.mode));
    let opens = access.zip(mode).map(|(access, mode)| access.opens(mode));
    let decision = compile_decision(decision, inherited, names);
    let demands = require::Raw { place, require, max_auth_age };
    let providers = decision.as_ref().map(|decision| &*decision.providers);
    let demands = require::compile(demands, access, providers, names, kept);
    let everything = (RuleMatch::everything(), RuleMatch::everything());
    let matches = matches.read_or(everything, |raw| compile_match(raw, opens, paths));
    let (matches, plain) = matches?;
    let rule = decision?.into_rule(name?, matches, demands?);
    Some(CompiledRule { place, rule, plain, is_implicit: false })
}

/// The rules with those of the presets among them, each as early as it can be.
fn with_auth_routes<'a>(
    mut rules: Vec<CompiledRule<'a>>,
    auth_routes: Vec<(Rc<str>, ProviderId, AuthRoutes<'a>)>,
) -> Option<Vec<CompiledRule<'a>>> {
    // Longer paths come last and so before shorter ones, in which they may lie. They are few; a
    // sort would be 4 kB of module.
    let mut by_length: Vec<(_, _, AuthRoutes<'a>)> = Vec::with_capacity(auth_routes.len());
    for entry in auth_routes {
        let length = entry.2.path.len();
        let index = by_length.partition_point(|(_, _, other)| other.path.len() <= length);
        by_length.insert(index, entry);
    }
    for (provider_name, provider, AuthRoutes { place, host, path }) in by_length {
        let below = PathPattern::prefix(&path, Width::Wide).ok()?;
        let below = RuleMatch::new(Vec::new(), Vec::new(), Width::Wide, Some(below));
        let narrow = PathPattern::prefix(&path, Width::Narrow).ok();
        place.note(&format!(
            "{path} and everything below it on {host} is public, before all rules but those for \
             paths there; auth_routes: manual turns this off"
        ));
        let matches = RuleMatch::new(vec![host.clone()], Vec::new(), Width::Narrow, narrow);
        let decision = Decision {
            access: Access::Public,
            forward: Forward::default(),
            providers: vec![provider],
            mode: Mode::default(),
            insecure_forward_foreign: false,
        };
        let rule = decision.into_rule(
            format!("{provider_name} auth routes").into(),
            matches,
            Demands::default(),
        );
        let plain = rule.matches.clone();
        let is_inside = |other: &CompiledRule<'_>| !other.is_implicit && below.covers(&other.plain);
        let first_outside = rules.iter().position(|other| !is_inside(other));
        let outside = rules.split_off(first_outside.unwrap_or(rules.len()));
        let mut ordered = rules;
        // On other hosts, rules decide in the order in which they are written.
        ordered.extend(
            outside.iter().filter(|other| is_inside(other)).filter_map(|it| it.on_host(&host)),
        );
        ordered.push(CompiledRule { place, rule, plain, is_implicit: true });
        ordered.extend(outside);
        rules = ordered;
    }
    Some(rules)
}

/// What a rule matches, and what it matches in the spelling of its patterns alone. Nothing for
/// `opens`: it can't be told.
fn compile_match(
    raw: raw::Match<'_>,
    opens: Option<bool>,
    paths: PathPolicy,
) -> Option<(RuleMatch, RuleMatch)> {
    let raw::Match { hosts, methods, path } = raw;
    let hosts = hosts.read_or(Vec::new(), |hosts| hosts_of(&hosts));
    let methods = methods.read_or(Vec::new(), |methods| {
        let method = |text: &raw::Text<'_>| {
            text.parse::<Method>("must be a method in upper case, such as GET")
        };
        all(methods.value.iter().map(method))
    });
    let width = if opens.unwrap_or_default() { Width::Narrow } else { Width::Wide };
    let path = path.read_or(None, |raw| compile_path(raw, opens, width, paths).map(Some));

    let (hosts, methods, path) = (hosts?, methods?, path?);
    let (path, plain_path) = path.unzip();
    let plain = RuleMatch::new(hosts.clone(), methods.clone(), Width::Narrow, plain_path);
    Some((RuleMatch::new(hosts, methods, width, path), plain))
}

/// A list of hosts.
pub(super) fn hosts_of(hosts: &raw::Texts<'_>) -> Option<Vec<HostPattern>> {
    all(hosts.value.iter().map(|host| host.parse::<HostPattern>(HOST_FORM)))
}

const HOST_FORM: &str = "must be a DNS name, an address, or *. and a DNS name; without a port";

fn compile_path(
    raw: raw::Path<'_>,
    opens: Option<bool>,
    width: Width,
    paths: PathPolicy,
) -> Option<(PathPattern, PathPattern)> {
    let raw::Path { shape, text, strict } = raw;
    let width = strict
        .read_or(width, |strict| Some(if strict.value { Width::Narrow } else { Width::Wide }));
    if let (PathShape::Suffix, Some(false)) = (shape, opens) {
        text.error(
            "suffix is for public and optional rules only, and for mode: report: a rule that \
             restricts would be dodged by another ending",
        );
    }
    let pattern = |width| match shape {
        PathShape::Exact => PathPattern::exact(text.value, width),
        PathShape::Prefix => PathPattern::prefix(text.value, width),
        PathShape::Suffix => PathPattern::suffix(text.value, width),
        PathShape::Template => PathPattern::template(text.value, width),
    };
    match (pattern(width.unwrap_or(Width::Wide)), pattern(Width::Narrow)) {
        (Ok(matched), Ok(plain)) => {
            warn_of_odd_path(shape, &text, paths);
            width.map(|_| (matched, plain))
        }
        (Err(error), _) | (_, Err(error)) => {
            text.refuse(match error {
                InvalidPath::NoLeadingSlash => "must start with \"/\"",
                InvalidPath::Empty => "must not be empty",
                InvalidPath::Escape => "has a % without two hexadecimal digits after it",
                InvalidPath::Query => "must have no query and no fragment: they are not compared",
                InvalidPath::Placeholder => "must have { and } only around a whole segment's name",
            });
            None
        }
    }
}

/// What would be read in another way than it is meant.
fn warn_of_odd_path(shape: PathShape, text: &raw::Text<'_>, paths: PathPolicy) {
    let wildcards: &[char] = match shape {
        PathShape::Exact | PathShape::Prefix | PathShape::Suffix => &['*', '{'],
        PathShape::Template => &['*'],
    };
    if let Some(found) = text.value.chars().find(|char| wildcards.contains(char)) {
        text.place.warning(format!(
            "{:?} is compared as it is: \"{found}\" stands for nothing else here",
            text.value
        ));
    }
    let example = match shape {
        PathShape::Suffix => format!("/a{}", text.value),
        PathShape::Exact | PathShape::Prefix | PathShape::Template => text.value.to_owned(),
    };
    let ambiguous =
        NormalPath::from_pattern(&example).is_some_and(|path| paths.read(&path.narrow).is_err());
    if ambiguous {
        text.place.warning(format!(
            "{:?} never matches: such paths are ambiguous and refused with 400",
            text.value
        ));
    }
}

fn warn_of_covered_rules(rules: &[CompiledRule<'_>]) {
    // A rule that has a copy decides there at least.
    let has_copy = |place: &Place<'_>| {
        rules.iter().any(|rule| rule.is_implicit && rule.place.path() == place.path())
    };
    for (index, later) in
        rules.iter().enumerate().filter(|(_, rule)| !rule.is_implicit && !has_copy(&rule.place))
    {
        let earlier = || rules.iter().take(index);
        let covering = earlier().find(|rule| rule.rule.matches.covers(&later.rule.matches));
        let hiding = || earlier().find(|rule| rule.rule.matches.covers(&later.plain));
        if let Some(covering) = covering {
            let earlier = covering.place.path();
            later.place.warning(format!("never decides: {earlier} matches all that it matches"));
        } else if let Some(hiding) = hiding() {
            later.place.warning(format!(
                "decides odd spellings only (other case, a trailing slash): {} matches the usual \
                 one",
                hiding.place.path()
            ));
        }
    }
}

/// A rule for every path that is public, or such a default, needs a rule before it that asks for
/// something; else `insecure_public`. What only reports asks for nothing, but is no error itself:
/// it says that it opens, and a warning says so too.
fn check_that_something_is_protected(
    rules: &[CompiledRule<'_>],
    default: Access,
    default_place: Option<Place<'_>>,
    insecure_public: bool,
) {
    let public = |compiled: &CompiledRule<'_>| match compiled.rule.access {
        Access::Public => true,
        Access::Required | Access::Optional | Access::Denied => false,
    };
    let lets_all_through =
        |compiled: &&CompiledRule<'_>| public(compiled) || compiled.rule.mode == Mode::Report;
    let protects = |index: usize, compiled: &CompiledRule<'_>| match compiled.rule.access {
        Access::Required | Access::Denied if compiled.rule.mode == Mode::Enforce => {
            let mut earlier = rules.iter().take(index).filter(lets_all_through);
            !earlier.any(|rule| rule.rule.matches.covers(&compiled.plain))
        }
        Access::Required | Access::Denied | Access::Optional | Access::Public => false,
    };
    let every_path = PathPattern::prefix("/", Width::Narrow).ok();
    let every_path = RuleMatch::new(Vec::new(), Vec::new(), Width::Narrow, every_path);

    let mut is_protected = false;
    let mut open_place = None;
    for (index, compiled) in rules.iter().enumerate() {
        if public(compiled) && compiled.rule.matches.covers(&every_path) {
            open_place = Some(compiled.place);
            break;
        }
        is_protected |= protects(index, compiled);
    }
    let open_place = match (open_place, default) {
        (Some(place), _) => place,
        (None, Access::Public) => match default_place {
            Some(place) => place,
            None => return,
        },
        (None, Access::Required | Access::Optional | Access::Denied) => return,
    };
    if is_protected {
        open_place.warning("every path is public that no rule before this one decides");
    } else if !insecure_public {
        open_place.error(
            "public for every path leaves no path protected: restrict it by match, or set \
             insecure_public_by_default: true",
        );
    }
}
