//! `require` as it is written: a tree of `all`, `any` and `not` over leaves.

use super::{ClaimNames, claim_names};
use crate::config::error::Place;
use crate::config::reader::{At, Field, Node};

/// `require`, or a part of it.
pub(in crate::config) enum Require<'a> {
    All(At<'a, Vec<Require<'a>>>),
    Any(At<'a, Vec<Require<'a>>>),
    Not(Box<Require<'a>>),
    Leaf { claim: ClaimNames<'a>, test: Test<'a> },
}

/// What a leaf asks of its claim.
pub(in crate::config) enum Test<'a> {
    Equals(Node<'a>),
    OneOf(At<'a, Vec<Node<'a>>>),
    Contains(Node<'a>),
    ContainsAll(At<'a, Vec<Node<'a>>>),
    Exists(bool),
}

impl<'a> Require<'a> {
    pub(super) fn read(node: Node<'a>) -> Option<Self> {
        Self::read_below(node, 0)
    }

    /// `depth` of `all`, `any` and `not` stand around it.
    fn read_below(node: Node<'a>, depth: usize) -> Option<Self> {
        let place = node.place;
        let inner = depth.saturating_add(1);
        let parts = |node: Node<'a>, if_empty: &str| {
            if refuse_depth(&node.place, inner) {
                return None;
            }
            node.some_list(if_empty, |node| Self::read_below(node, inner))
        };
        let (trees, claim, tests) = node.object(|fields| {
            let trees = [
                fields.optional("all", |node| parts(node, "it would always hold").map(Self::All)),
                fields.optional("any", |node| parts(node, "it would never hold").map(Self::Any)),
                fields.optional("not", |node| {
                    if refuse_depth(&node.place, inner) {
                        return None;
                    }
                    Self::read_below(node, inner).map(|part| Self::Not(Box::new(part)))
                }),
            ];
            let claim = fields.optional("claim", claim_names);
            let tests = [
                fields.optional("equals", |node| Some(Test::Equals(node))),
                fields.optional("one_of", |node| {
                    node.some_list("it would never hold", Some).map(Test::OneOf)
                }),
                fields.optional("contains", |node| Some(Test::Contains(node))),
                fields.optional("contains_all", |node| {
                    node.some_list("it would always hold", Some).map(Test::ContainsAll)
                }),
                fields.optional("exists", |node| Some(Test::Exists(node.flag()?.value))),
            ];
            (Vec::from(trees), claim, Vec::from(tests))
        })?;
        let mut trees = given_or_bad(trees);
        let mut tests = given_or_bad(tests);
        match (trees.len(), &claim, tests.len()) {
            (1, Field::Absent, 0) => trees.pop()?.given(),
            (0, Field::Given(_) | Field::Bad, 1) => {
                Some(Self::Leaf { claim: claim.given()?, test: tests.pop()?.given()? })
            }
            (0, Field::Given(_) | Field::Bad, _) => {
                place.error(
                    "must have exactly one of equals, one_of, contains, contains_all, exists",
                );
                None
            }
            _ => {
                place.error(
                    "must be all, any or not alone, or a claim with one of equals, one_of, \
                     contains, contains_all, exists",
                );
                None
            }
        }
    }
}

/// Those that are there.
fn given_or_bad<T>(fields: Vec<Field<T>>) -> Vec<Field<T>> {
    fields.into_iter().filter(|field| !matches!(field, Field::Absent)).collect()
}

/// Whether this is an `all`, `any` or `not` too many; finds an error if so.
fn refuse_depth(place: &Place<'_>, depth: usize) -> bool {
    let is_too_deep = depth > MAX_DEPTH;
    if is_too_deep {
        place.error(format!("is nested too deep: at most {MAX_DEPTH} of all, any, not"));
    }
    is_too_deep
}

/// Deeper ones are read by nobody, and each request walks through them.
const MAX_DEPTH: usize = 8;
