//! The index against a search in a row, with rules and requests that have much in common.

use super::*;
use crate::matcher::Width::{Narrow, Wide};
use crate::matcher::{PathPattern, Width};
use crate::path::{AmbiguousForm, PathPolicy};

/// One of `rules` in a row.
fn in_a_row(
    rules: &[RuleMatch],
    host: &str,
    method: &str,
    path: Option<&NormalPath<'_>>,
) -> Option<usize> {
    let host = Host::read(host.as_bytes()).unwrap();
    rules.iter().position(|rule| rule.matches(host, method.as_bytes(), path))
}

/// What the index finds, and how many rules it compares for that.
fn by_index(
    rules: &[RuleMatch],
    index: &RuleIndex,
    host: &str,
    method: &str,
    path: Option<&NormalPath<'_>>,
) -> (Option<usize>, usize) {
    let host = Host::read(host.as_bytes()).unwrap();
    let compared = std::cell::Cell::new(0);
    let found = index.find(host, path, |rule| {
        compared.set(compared.get() + 1);
        rules[rule].matches(host, method.as_bytes(), path)
    });
    (found, compared.get())
}

fn rule(hosts: &str, path: Option<PathPattern>) -> RuleMatch {
    let hosts = hosts.split_whitespace().map(|host| host.parse().unwrap()).collect();
    RuleMatch::new(hosts, vec![], Wide, path)
}

fn prefix(text: &str) -> RuleMatch {
    rule("", Some(PathPattern::prefix(text, Wide).unwrap()))
}

fn read(path: &str) -> NormalPath<'_> {
    PathPolicy::default().read(path.as_bytes()).unwrap()
}

/// Small numbers that look random.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % most
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn path(&mut self, segments: &[&str]) -> String {
        let count = match self.below(8) {
            0 => 0,
            1 => 7 + self.below(4),
            _ => 1 + self.below(3),
        };
        let mut path: String = (0..count).map(|_| format!("/{}", self.one(segments))).collect();
        if path.is_empty() || self.below(4) == 0 {
            path.push('/');
        }
        path
    }

    fn rule(&mut self) -> RuleMatch {
        let width = self.one(&[Narrow, Wide]);
        let hosts = match self.below(3) {
            0 => (0..=self.below(2)).map(|_| self.one(HOSTS)).collect::<Vec<_>>(),
            1 if self.below(3) == 0 => vec!["*.a.example", self.one(HOSTS)],
            _ => vec![],
        };
        let methods = if self.below(4) == 0 { vec![self.one(METHODS)] } else { vec![] };
        let path = match self.below(12) {
            0 => None,
            1 => Some(PathPattern::suffix(self.one(&["a", "/b", ".c", "@", "%40"]), width)),
            2..=4 => Some(PathPattern::exact(&self.path(SEGMENTS), width)),
            5..=8 => Some(PathPattern::prefix(&self.path(SEGMENTS), width)),
            _ => {
                let mut segments = SEGMENTS.to_vec();
                segments.extend(["{x}", "{y}"]);
                Some(PathPattern::template(&self.path(&segments), width))
            }
        };
        RuleMatch::new(
            hosts.iter().map(|host| host.parse().unwrap()).collect(),
            methods.iter().map(|method| method.parse().unwrap()).collect(),
            width,
            path.map(Result::unwrap),
        )
    }
}

const HOSTS: &[&str] = &["a.example", "B.example", "x.a.example", "[::1]", "c"];
const SENT_HOSTS: &[&str] =
    &["A.example", "a.example.:80", "b.EXAMPLE", "x.a.example", "[::1]:1", "c", "d", "y.a.example"];
const METHODS: &[&str] = &["GET", "POST", "HEAD"];
const SENT_METHODS: &[&str] = &["GET", "get", "POST", "HEAD", "PUT"];
const SEGMENTS: &[&str] = &["a", "b", "ab", "A", "@", "%40", "a%2Fb", "%7e", "100%25", "\u{e4}"];
const SENT_SEGMENTS: &[&str] = &[
    "a", "b", "ab", "A", "%61", "@", "%40", "`", "a%2Fb", "a%2fB", "~", "100%25", "%C3%A4", "x.c",
    "", "",
];

#[test]
fn finds_what_a_search_in_a_row_finds() {
    let mut paths = PathPolicy::default();
    paths.allow(AmbiguousForm::DoubleSlash);
    paths.allow(AmbiguousForm::EncodedSlash);
    let mut dice = Dice(1);
    let (mut found, mut none) = (0, 0);
    for round in 0..400 {
        let count = 1 + dice.below(40);
        let rules: Vec<_> = (0..count).map(|_| dice.rule()).collect();
        let index = RuleIndex::new(rules.iter());
        for _ in 0..100 {
            let (host, method) = (dice.one(SENT_HOSTS), dice.one(SENT_METHODS));
            let sent = dice.path(SENT_SEGMENTS);
            let path = paths.read(sent.as_bytes()).unwrap();
            let path = (dice.below(20) > 0).then_some(&path);
            let expected = in_a_row(&rules, host, method, path);
            let (first, compared) = by_index(&rules, &index, host, method, path);
            assert_eq!(first, expected, "round {round}: {method} {host}{sent}, {rules:#?}");
            assert!(compared <= rules.len(), "round {round}: a rule is compared twice");
            *if expected.is_some() { &mut found } else { &mut none } += 1;
        }
    }
    assert!(found > 10_000 && none > 2_000, "{found} found, {none} not");
}

#[test]
fn most_rules_are_not_compared() {
    let number = 0..1_000;
    let numbered = |make: &dyn Fn(usize) -> RuleMatch| number.clone().map(make).collect();
    let template = |text: String| rule("", Some(PathPattern::template(&text, Wide).unwrap()));
    let exact = |text: String| rule("", Some(PathPattern::exact(&text, Narrow).unwrap()));
    let rows: [(&str, Vec<RuleMatch>, &str, &str); 6] = [
        ("first segments", numbered(&|n| prefix(&format!("/service-{n}"))), "a", "/service-999/x"),
        ("below one", numbered(&|n| prefix(&format!("/api/v1/{n}"))), "a", "/api/v1/999/x/y"),
        ("templates", numbered(&|n| template(format!("/api/{n}/{{x}}"))), "a", "/api/999/x"),
        ("exact", numbered(&|n| exact(format!("/a/{n}/"))), "a", "/a/999/"),
        ("hosts", numbered(&|n| rule(&format!("t{n}.example"), None)), "T999.example", "/x"),
        (
            "hosts and paths",
            numbered(&|n| {
                let path = PathPattern::prefix(&format!("/{}", n % 10), Wide).unwrap();
                rule(&format!("t{}.example www.t{n}.example", n / 10), Some(path))
            }),
            "t99.example",
            "/9/x",
        ),
    ];
    for (name, rules, host, path) in rows {
        let index = RuleIndex::new(rules.iter());
        let (found, compared) = by_index(&rules, &index, host, "GET", Some(&read(path)));
        assert_eq!((found, compared), (Some(999), 1), "{name}");
        let (found, compared) = by_index(&rules, &index, "b", "GET", Some(&read("/none")));
        assert_eq!((found, compared), (None, 0), "{name}");
    }
}

#[test]
fn the_depth_of_a_request_costs_nothing() {
    let rules: Vec<_> = (0..10).map(|n| prefix(&format!("{}/{n}", "/a".repeat(20)))).collect();
    let index = RuleIndex::new(rules.iter());
    assert_eq!(index.segments, MAX_SEGMENTS);
    let deep = format!("{}/9/x", "/a".repeat(20));
    let (found, compared) = by_index(&rules, &index, "a", "GET", Some(&read(&deep)));
    assert_eq!((found, compared), (Some(9), 10), "all are filed under the same");
    assert_eq!(Keys::of(None, &b"/a".repeat(1_000), index.segments).count(), 9);
}

#[test]
fn no_path_is_one_key_twice() {
    let path = b"/a".repeat(20);
    let host = Host::read(b"a").unwrap();
    let both = [None, Some(host)].map(|host| Keys::of(host, &path, MAX_SEGMENTS));
    // Whatever the hash is.
    let mut apart: Vec<_> = both.into_iter().flatten().map(|key| key & 0x1f).collect();
    apart.sort_unstable();
    apart.dedup();
    assert_eq!(apart.len(), 2 * (MAX_SEGMENTS + 1));
}

#[test]
fn case_and_escapes_share_a_place() {
    fn last(path: &str, width: Width) -> u32 {
        let rule = RuleMatch::new(vec![], vec![], width, PathPattern::exact(path, width).ok());
        Keys::of(None, &rule.leading_segments(), MAX_SEGMENTS).last().unwrap()
    }
    for (one, other) in [("/A/b", "/a/B"), ("/a%40b", "/a@b"), ("/a/", "/a"), ("/", "/")] {
        assert_eq!(last(one, Narrow), last(other, Wide), "{one} and {other}");
    }
    assert_ne!(last("/a/b", Wide), last("/ab", Wide));
}
