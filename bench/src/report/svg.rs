//! Charts: one file for each group of loads, horizontal bars, nothing loaded from elsewhere.
//!
//! A chart is a grid. Each row is a load, each column a metric, and each panel has one bar for each proxy, as long as
//! its median, with a thin line from the lowest to the highest round.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use crate::load::Group;
use crate::metric::Metric;
use crate::proxy::Recipe;
use crate::results::{LoadResults, Outcome, Results};

/// Writes the charts of all groups that have results, as `GROUP.svg`.
pub fn write(directory: &Path, results: &Results) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for group in Group::ALL {
        let loads: Vec<&LoadResults> = results.loads.iter().filter(|found| found.load.group() == group).collect();
        if !loads.is_empty() {
            fs::write(directory.join(format!("{}.svg", group.name())), chart(group, &loads, results))?;
        }
    }
    Ok(())
}

// Lengths in user units, which are pixels at the natural size.
const MARGIN: usize = 16;
const NAME_WIDTH: usize = 110;
const BAR_WIDTH: usize = 180;
const VALUE_WIDTH: usize = 82;
const PANEL_WIDTH: usize = BAR_WIDTH + VALUE_WIDTH;
/// Room for the headings, however few the panels.
const LEAST_WIDTH: usize = 640;
const BAR_HEIGHT: usize = 14;
const BAR_STEP: usize = 20;
const TITLE_HEIGHT: usize = 34;
const LOAD_HEIGHT: usize = 52;

/// Colours that read well on white and on black; text adapts where the viewer says which it is.
const STYLE: &str = "\
    text{font:12px system-ui,sans-serif;fill:#57606a}\
    .title{font-size:16px;font-weight:600}\
    .load{font-size:13px;font-weight:600}\
    .hint{font-size:11px}\
    .ours{fill:#2f81f7}\
    .other{fill:#8b949e}\
    .direct{fill:none;stroke:#8b949e;stroke-dasharray:3 2}\
    .spread{stroke:#d29922;stroke-width:2}\
    @media(prefers-color-scheme:dark){text{fill:#c9d1d9}}";

/// Draws one group.
fn chart(group: Group, loads: &[&LoadResults], results: &Results) -> String {
    let metrics = group.headline();
    let load_height = LOAD_HEIGHT + results.proxies.len() * BAR_STEP;
    let width = (2 * MARGIN + NAME_WIDTH + metrics.len() * PANEL_WIDTH).max(LEAST_WIDTH);
    let height = 2 * MARGIN + TITLE_HEIGHT + loads.len() * load_height;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\">\n<title>{name}</title>\n<style>{STYLE}</style>\n",
        name = group.name()
    );
    let hint = "median of the rounds; the thin line goes from the lowest round to the highest";
    text(&mut svg, "title", MARGIN, MARGIN + 14, group.name());
    text(&mut svg, "hint", MARGIN + NAME_WIDTH, MARGIN + 14, hint);
    for (row, found) in loads.iter().enumerate() {
        let top = MARGIN + TITLE_HEIGHT + row * load_height;
        text(&mut svg, "load", MARGIN, top + 12, &format!("{}: {}", found.load, found.load.description()));
        for (line, proxy) in results.proxies.iter().enumerate() {
            text(&mut svg, "name", MARGIN, bar_top(top, line) + 11, &shortened(&proxy.name));
        }
        for (column, &metric) in metrics.iter().enumerate() {
            panel(&mut svg, MARGIN + NAME_WIDTH + column * PANEL_WIDTH, top, metric, found, results);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Draws one load's bars of one metric.
fn panel(svg: &mut String, left: usize, top: usize, metric: Metric, found: &LoadResults, results: &Results) {
    text(svg, "hint", left, top + 30, &format!("{}, {}", metric.label(), metric.better().hint()));
    let summaries: Vec<_> = found.outcomes.iter().map(|outcome| outcome.summary(metric)).collect();
    let largest = summaries.iter().flatten().map(|summary| summary.max).fold(0.0, f64::max);
    for (line, summary) in summaries.iter().enumerate() {
        let y = bar_top(top, line);
        let Some(summary) = summary else {
            text(svg, "hint", left, y + 11, absence(&found.outcomes[line]));
            continue;
        };
        let length = |value: f64| if largest > 0.0 { BAR_WIDTH as f64 * value.max(0.0) / largest } else { 0.0 };
        let (median, low, high) = (length(summary.median), length(summary.min), length(summary.max));
        let class = class(&results.proxies[line].recipe);
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{left}\" y=\"{y}\" width=\"{median:.1}\" height=\"{BAR_HEIGHT}\" rx=\"2\"/>"
        );
        let (left_end, right_end, middle) = (left as f64 + low, left as f64 + high, y + BAR_HEIGHT / 2);
        let _ = writeln!(
            svg,
            "<line class=\"spread\" x1=\"{left_end:.1}\" y1=\"{middle}\" x2=\"{right_end:.1}\" y2=\"{middle}\"/>"
        );
        text(svg, "value", left + high.ceil() as usize + 5, y + 11, &metric.format(summary.median));
    }
}

/// Where the bar of the `line`th proxy begins, in the row that begins at `top`.
fn bar_top(top: usize, line: usize) -> usize {
    top + 36 + line * BAR_STEP
}

/// What stands where a bar is missing.
fn absence(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Measured(_) if !outcome.failures().is_empty() => "failed",
        _ => "–",
    }
}

fn class(recipe: &Recipe) -> &'static str {
    match recipe {
        Recipe::Cproxy { .. } => "ours",
        Recipe::Direct => "direct",
        _ => "other",
    }
}

/// A proxy's name, cut to what fits beside the bars.
fn shortened(name: &str) -> String {
    const FITS: usize = 16;
    match name.chars().count() > FITS {
        true => name.chars().take(FITS - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}

fn text(svg: &mut String, class: &str, x: usize, y: usize, content: &str) {
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(content));
}

/// Text as XML wants it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Load;
    use crate::proxy::Proxy;

    fn results() -> Results {
        let proxy = |name: &str, recipe| Proxy { name: name.to_owned(), recipe };
        let ours = Recipe::Cproxy { program: "p".into(), extra: vec![] };
        let measured = |value| Outcome::Measured(vec![Ok(vec![(Metric::Throughput, value)])]);
        let outcomes = vec![measured(4.0), measured(2.0), Outcome::Measured(vec![Err("no".to_owned())])];
        Results {
            proxies: vec![proxy("direct", Recipe::Direct), proxy("<a> & \"b\"", ours.clone()), proxy("c", ours)],
            base: 1,
            loads: vec![LoadResults { load: Load::ALL[0], outcomes }],
        }
    }

    /// The names of elements that are open at the end; panics if one is closed that was not the last opened.
    fn unclosed(xml: &str) -> Vec<&str> {
        let mut open = Vec::new();
        for tag in xml.split('<').skip(1) {
            let (tag, content) = tag.split_once('>').expect("a tag ends");
            assert!(!content.contains('>'), "bare > in {content}");
            assert_eq!(tag.matches('"').count() % 2, 0, "quotes in {tag}");
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name)),
                None if tag.ends_with('/') => {}
                None => open.push(tag.split(' ').next().unwrap()),
            }
        }
        open
    }

    #[test]
    fn charts_are_well_formed() {
        let results = results();
        let svg = chart(Group::Bulk, &[&results.loads[0]], &results);
        assert_eq!(unclosed(&svg), Vec::<&str>::new());
        assert!(svg.contains("&lt;a&gt; &amp; &quot;b&quot;"));
        assert!(svg.contains(">failed<"));
    }

    #[test]
    fn a_bar_is_as_long_as_its_value() {
        let results = results();
        let svg = chart(Group::Bulk, &[&results.loads[0]], &results);
        assert!(svg.contains("class=\"direct\" x=\"126\" y=\"86\" width=\"180.0\""), "{svg}");
        assert!(svg.contains("class=\"ours\" x=\"126\" y=\"106\" width=\"90.0\""), "{svg}");
    }
}
