//! Charts of the last five minutes, as SVG.

use std::fmt::{Display, Write};

use crate::status::history::{History, Step};

/// Width and height of what is drawn in; each unit of the width is a second.
const WIDTH: f64 = History::LENGTH.as_secs() as f64;
const HEIGHT: f64 = 80.0;

/// A line of a chart.
pub struct Line<'a> {
    /// What it is, which is also its class.
    pub name: &'static str,
    /// Its value in a step; `None`: it has none there.
    pub value: &'a dyn Fn(&Step) -> Option<f64>,
}

/// Writes a chart of these lines, with a word for each value.
pub fn chart<T: Display>(html: &mut String, title: &str, steps: &[Step], lines: &[Line<'_>], shown: fn(f64) -> T) {
    let values = lines.iter().flat_map(|line| steps.iter().filter_map(line.value));
    let most = values.fold(0.0, f64::max);
    put!(html, "<figure><figcaption>{title}");
    for line in lines {
        let last = steps.last().and_then(line.value);
        let last = last.map_or_else(|| "\u{2013}".to_string(), |value| shown(value).to_string());
        put!(html, " <b class=\"{0}\">{0} {last}</b>", line.name);
    }
    put!(
        html,
        "</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{title} of the last five minutes, at most {}\">",
        shown(most)
    );
    for line in lines {
        put!(html, "<path class=\"{}\" d=\"{}\"/>", line.name, path(steps, line.value, most));
    }
    put!(
        html,
        "</svg><p class=\"axis\"><span>5 min ago</span> <span>at most {}</span> <span>now</span></p></figure>",
        shown(most)
    );
}

/// The path through the values, with gaps where there are none.
fn path(steps: &[Step], value: &dyn Fn(&Step) -> Option<f64>, most: f64) -> String {
    let mut path = String::new();
    let mut is_drawing = false;
    for step in steps.iter().filter(|step| step.ago <= WIDTH) {
        let Some(value) = value(step) else {
            is_drawing = false;
            continue;
        };
        let height = if most > 0.0 { value / most } else { 0.0 };
        let (x, y) = (WIDTH - step.ago, (HEIGHT - 2.0) * (1.0 - height) + 1.0);
        // A line of no length is a dot, so that a value alone is seen as well.
        let _ = match is_drawing {
            true => write!(path, "L{x:.0} {y:.1}"),
            false => write!(path, "M{x:.0} {y:.1}h0"),
        };
        is_drawing = true;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_from_value_to_value_and_has_gaps() {
        let step = |ago, value| Step { ago, sessions: 0, rates: [0.0; 2], connect_time: value };
        let steps = [
            step(400.0, Some(9.0)),
            step(300.0, Some(0.0)),
            step(2.0, Some(2.0)),
            step(1.0, None),
            step(0.0, Some(1.0)),
        ];
        let value = |step: &Step| step.connect_time;
        assert_eq!(path(&steps, &value, 2.0), "M0 79.0h0L298 1.0M300 40.0h0");
        assert_eq!(path(&steps[4..], &value, 0.0), "M300 79.0h0");
        let mut html = String::new();
        chart(&mut html, "Time", &steps, &[Line { name: "up", value: &value }], |value| value);
        assert!(html.contains("Time <b class=\"up\">up 1</b>") && html.contains("at most 9<"), "{html}");
    }
}
