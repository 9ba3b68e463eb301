//! What the filter has to reach, and what it reaches.

use super::contestants::{
    FLOOR, JWT_COOKIE, JWT_COOKIE_UNCACHED, JWT_ES256, JWT_HEADER, LUA, NATIVE, OURS, OURS_ES256,
    OURS_PUBLIC, OURS_RULES, OURS_UNCACHED, OURS_VERIFY,
};
use super::cpu::Cpu;
use super::load::Load;
use super::measured::Instructions;
use super::workload::Shape;
use crate::soak::{self, MAX_GROWTH};

/// One target.
pub(super) struct Target {
    pub(super) what: String,
    pub(super) figure: String,
    pub(super) bound: String,
    /// Nothing if it was left out.
    pub(super) met: Option<bool>,
}

pub(super) fn all(
    load: &Load,
    cpu: &Cpu,
    instructions: &Instructions,
    soak: Option<&soak::Report>,
) -> Vec<Target> {
    use Shape::{Bearer, Browser, Plain};
    let of = |name: &str, shape| instructions.of(name, shape);
    let over = |name: &str, shape, peer: &str, peer_shape| of(name, shape) / of(peer, peer_shape);
    let mut targets = vec![
        ratio("the same job, cached ÷ Lua + jwt_authn", over(OURS, Plain, LUA, Plain), 0.33),
        ratio(
            "the same job, cached ÷ Lua + jwt_authn, as a browser sends it",
            over(OURS, Browser, LUA, Browser),
            0.27,
        ),
        ratio(
            "the same job, cached ÷ header_to_metadata + header_mutation + jwt_authn",
            over(OURS, Plain, NATIVE, Plain),
            1.0,
        ),
        ratio("the same job, cached ÷ floor", over(OURS, Plain, FLOOR, Plain), 1.15),
        ratio("the same job, CPU time ÷ Lua + jwt_authn", cpu.over(OURS) / cpu.over(LUA), 0.6),
        ratio(
            "verify_only in the header ÷ jwt_authn, cached, which reads the cookie",
            over(OURS_VERIFY, Bearer, JWT_COOKIE, Plain),
            1.1,
        ),
        ratio(
            "verify_only in the header ÷ jwt_authn, cached, which reads the header",
            over(OURS_VERIFY, Bearer, JWT_HEADER, Bearer),
            2.5,
        ),
        ratio(
            "uncached RS256 ÷ jwt_authn, uncached",
            over(OURS_UNCACHED, Plain, JWT_COOKIE_UNCACHED, Plain),
            0.85,
        ),
        ratio(
            "uncached ES256, CPU time ÷ jwt_authn, uncached",
            cpu.over(OURS_ES256) / cpu.over(JWT_ES256),
            1.05,
        ),
        target(
            "a public rule, instructions",
            of(OURS_PUBLIC, Plain),
            23_000.0,
            Bound::AtMost,
            thousands,
        ),
        ratio(
            "1,000 rules, the last matches ÷ one rule",
            over(OURS_RULES, Plain, OURS, Plain),
            1.3,
        ),
        at_least(
            "forged RS256, the same again: requests a second ÷ no filter",
            cpu.flood.repeated / cpu.flood.base,
            0.5,
        ),
        at_least(
            "forged RS256, all different: requests a second ÷ no filter",
            cpu.flood.different / cpu.flood.base,
            0.25,
        ),
    ];
    let memory = "memory after 1,000,000 requests over that after 100,000, MiB";
    let bound = MAX_GROWTH.0 as f64 / MEBIBYTE;
    targets.push(match soak {
        Some(report) => {
            target(memory, report.growth() as f64 / MEBIBYTE, bound, Bound::AtMost, one_decimal)
        }
        None => Target {
            what: memory.to_owned(),
            figure: "left out".to_owned(),
            bound: format!("≤ {}", one_decimal(bound)),
            met: None,
        },
    });
    targets.extend([
        target(
            "session_token_filter.wasm, KiB",
            (load.module_bytes as f64 / 1024.0).ceil(),
            600.0,
            Bound::AtMost,
            thousands,
        ),
        target(
            "start of Envoy with the module over that without, seconds",
            load.took.as_secs_f64(),
            0.5,
            Bound::AtMost,
            two_decimals,
        ),
    ]);
    targets
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost,
    AtLeast,
}

fn ratio(what: &str, figure: f64, bound: f64) -> Target {
    target(what, figure, bound, Bound::AtMost, two_decimals)
}

fn at_least(what: &str, figure: f64, bound: f64) -> Target {
    target(what, figure, bound, Bound::AtLeast, two_decimals)
}

/// What is not a number is not met.
fn target(what: &str, figure: f64, bound: f64, kind: Bound, text: fn(f64) -> String) -> Target {
    let (sign, met) = match kind {
        Bound::AtMost => ("≤", figure <= bound),
        Bound::AtLeast => ("≥", figure >= bound),
    };
    Target {
        what: what.to_owned(),
        figure: text(figure),
        bound: format!("{sign} {}", text(bound)),
        met: Some(met),
    }
}

fn one_decimal(figure: f64) -> String {
    format!("{figure:.1}")
}

fn two_decimals(figure: f64) -> String {
    format!("{figure:.2}")
}

/// A whole number with commas.
pub(super) fn thousands(figure: f64) -> String {
    let digits = format!("{:.0}", figure.abs());
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if figure < -0.5 { format!("-{text}") } else { text }
}

const MEBIBYTE: f64 = 1024.0 * 1024.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas() {
        for (figure, text) in
            [(0.0, "0"), (999.6, "1,000"), (1_234_567.0, "1,234,567"), (-12_345.0, "-12,345")]
        {
            assert_eq!(thousands(figure), text);
        }
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        for (name, figure, kind, met) in [
            ("below", 1.0, Bound::AtMost, true),
            ("above", 2.1, Bound::AtMost, false),
            ("enough", 2.0, Bound::AtLeast, true),
            ("too little", 1.9, Bound::AtLeast, false),
            ("nothing", f64::NAN, Bound::AtMost, false),
            ("nothing", f64::NAN, Bound::AtLeast, false),
        ] {
            assert_eq!(target(name, figure, 2.0, kind, two_decimals).met, Some(met), "{name}");
        }
    }
}
