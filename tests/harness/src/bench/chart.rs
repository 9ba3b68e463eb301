//! A bar chart as SVG, readable on light and dark pages.

use std::fmt::Write;

use super::targets::thousands;

/// One filter.
pub(super) struct Bar {
    pub(super) label: &'static str,
    /// Instructions for a plain request.
    pub(super) plain: f64,
    /// For one as a browser sends it.
    pub(super) browser: Option<f64>,
    pub(super) is_ours: bool,
}

pub(super) fn draw(bars: &[Bar], caption: &str) -> String {
    let figures = bars.iter().flat_map(|bar| [Some(bar.plain), bar.browser]).flatten();
    let longest = figures.fold(1.0_f64, f64::max);
    let mut body = String::new();
    let mut y = TOP;
    for bar in bars {
        let _ = writeln!(body, r#"  <text x="0" y="{y}">{}</text>"#, escaped(bar.label));
        y += 8;
        let class = if bar.is_ours { "ours" } else { "other" };
        let figures = [("plain", Some(bar.plain)), ("browser", bar.browser)];
        for (kind, figure) in figures {
            let Some(figure) = figure else { continue };
            let width = (figure.max(0.0) / longest * WIDEST).max(1.0);
            let (after, base, text) = (width + 6.0, y + 12, thousands(figure));
            let _ = writeln!(
                body,
                r#"  <rect class="{class} {kind}" y="{y}" width="{width:.0}" height="15"/>"#
            );
            let _ =
                writeln!(body, r#"  <text class="figure" x="{after:.0}" y="{base}">{text}</text>"#);
            y += 18;
        }
        y += 26;
    }
    let height = y + 14;
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">
  <title>{TITLE}</title>
  <style>
    text {{ font: 13px system-ui, sans-serif; fill: #1f2328; }}
    .head {{ font-weight: 600; }}
    .figure, .small {{ font-size: 12px; fill: #59636e; }}
    .ours {{ fill: #1a7f37; }}
    .other {{ fill: #818b98; }}
    .browser {{ opacity: 0.55; }}
    @media (prefers-color-scheme: dark) {{
      text {{ fill: #f0f6fc; }}
      .figure, .small {{ fill: #9198a1; }}
      .ours {{ fill: #3fb950; }}
    }}
  </style>
  <text class="head" x="0" y="16">{TITLE}</text>
  <text class="small" x="0" y="34">{SUBTITLE}</text>
{body}  <text class="small" x="0" y="{y}">{}</text>
</svg>
"#,
        escaped(caption)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const TITLE: &str = "Instructions a request, over Envoy without a filter";
const SUBTITLE: &str =
    "Verdict cached. Full colour: a plain request; pale: 19 headers, nine cookies.";
const WIDTH: u32 = 760;
/// Leaves room for the figure behind the longest bar.
const WIDEST: f64 = 680.0;
const TOP: u32 = 62;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_figures() {
        let bar = |label, plain, browser| Bar { label, plain, browser, is_ours: false };
        let svg = draw(&[bar("a < b", 50.0, Some(100.0)), bar("c", 25.0, None)], "today");
        for part in ["a &lt; b", r#"width="340""#, r#"width="680""#, r#"width="170""#, "today"] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
        assert_eq!(svg.matches("<rect").count(), 3);
    }
}
