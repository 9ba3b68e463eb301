//! Instructions of everybody, over those of the same request without a filter.

use std::collections::BTreeMap;

use super::BenchError;
use super::callgrind::Callgrind;
use super::contestants::{BASE, Contestant};
use super::workload::{PATH, Session, Shape};
use crate::envoy::EnvoyBinary;

/// Instructions a request.
pub(super) struct Instructions {
    /// By shape, of Envoy without a filter.
    pub(super) base: BTreeMap<Shape, f64>,
    /// Name, title, shape, and what the filters add. In the order of the contestants.
    pub(super) rows: Vec<(&'static str, &'static str, Shape, f64)>,
}

impl Instructions {
    /// What somebody adds; not a number if they were not measured with this shape.
    pub(super) fn of(&self, name: &str, shape: Shape) -> f64 {
        let found = self.rows.iter().find(|(who, _, with, _)| *who == name && *with == shape);
        found.map_or(f64::NAN, |(_, _, _, over)| *over)
    }
}

pub(super) fn measure(
    binary: &EnvoyBinary,
    contestants: &[Contestant],
    session: &Session,
    note: &mut dyn FnMut(&str),
) -> Result<Instructions, BenchError> {
    let envoy = Callgrind::start(binary, contestants.iter().map(|who| &who.listener))?;
    for who in contestants {
        envoy.site.check(who, session)?;
    }
    envoy.count(true)?;
    let mut base = BTreeMap::new();
    let mut rows = Vec::new();
    for who in contestants {
        for shape in who.shapes {
            let request = shape.request(PATH, who.token(session)).to_http1();
            let mut connection = envoy.site.connect(who.name)?;
            let count = envoy.measure(&mut connection, &[request])?;
            if who.name == BASE {
                base.insert(*shape, count);
                note(&format!("  {:<24} {shape:<8?} {count:>9.0}", who.name));
                continue;
            }
            let over = count - base.get(shape).copied().unwrap_or(f64::NAN);
            note(&format!("  {:<24} {shape:<8?} {over:>9.0} more", who.name));
            rows.push((who.name, who.title, *shape, over));
        }
    }
    Ok(Instructions { base, rows })
}
