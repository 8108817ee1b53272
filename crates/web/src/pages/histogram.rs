//! The time histogram, drawn on the server as SVG: each bar is a link that narrows to its time.

use event::Timestamp;

use super::listing::grouped;

/// How wide the drawing is, in its own units; the page stretches it.
const WIDTH: f64 = 1000.0;
/// How high it is.
const HEIGHT: f64 = 90.0;
/// The least height of a bar that counts anything, so that one event among thousands is seen.
const BAR_HEIGHT_MIN: f64 = 2.0;

/// What the template draws.
pub(crate) struct Chart {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) label: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) bars: Vec<Bar>,
}

pub(crate) struct Bar {
    pub(crate) x: String,
    pub(crate) y: String,
    pub(crate) width: String,
    pub(crate) height: String,
    pub(crate) title: String,
    pub(crate) href: String,
    /// Counts nothing; the keyboard passes it over.
    pub(crate) empty: bool,
}

/// Draws counts by time. `buckets` are (start, count) in order, each `step_nanos` long; `link`
/// makes the address that shows one bucket.
pub(crate) fn draw(
    buckets: &[(Timestamp, u64)],
    step_nanos: i64,
    link: impl Fn(Timestamp, Timestamp) -> String,
) -> Option<Chart> {
    let (first, last) = (buckets.first()?, buckets.last()?);
    let highest = buckets.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let total: u64 = buckets.iter().map(|(_, count)| count).sum();
    let step = WIDTH / buckets.len() as f64;
    let bars = buckets
        .iter()
        .enumerate()
        .map(|(index, (start, count))| {
            let end = start.plus_nanos(step_nanos);
            let mut height = *count as f64 / highest.max(1) as f64 * (HEIGHT - 4.0);
            if *count > 0 {
                height = height.max(BAR_HEIGHT_MIN);
            }
            Bar {
                x: format!("{:.2}", index as f64 * step),
                y: format!("{:.2}", HEIGHT - height),
                width: format!("{:.2}", (step - 1.0).max(0.5)),
                height: format!("{height:.2}"),
                title: format!("{} from {} to {}", grouped(*count), short(*start), short(end)),
                href: link(*start, end),
                empty: *count == 0,
            }
        })
        .collect();
    Some(Chart {
        width: WIDTH,
        height: HEIGHT,
        label: format!("{} over time, {} each", grouped(total), span(step_nanos)),
        from: short(first.0),
        to: short(last.0.plus_nanos(step_nanos)),
        bars,
    })
}

/// A time as pages show it: to the second, UTC.
pub(crate) fn short(time: Timestamp) -> String {
    time.to_jiff().strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A length of time in the largest unit that fits it whole.
pub(crate) fn span(nanos: i64) -> String {
    let seconds = nanos / 1_000_000_000;
    for (unit, size) in [("d", 86_400), ("h", 3_600), ("min", 60)] {
        if seconds >= size && seconds % size == 0 {
            return format!("{} {unit}", seconds / size);
        }
    }
    if seconds > 0 { format!("{seconds} s") } else { format!("{} ms", nanos / 1_000_000) }
}

#[cfg(test)]
mod tests {
    use event::Timestamp;

    use super::{draw, span};

    #[test]
    fn the_rare_bar_is_still_seen() {
        let buckets = [(Timestamp::from_millis(0), 1), (Timestamp::from_millis(60_000), 9_999)];
        let chart = draw(&buckets, 60_000_000_000, |from, to| format!("{from}..{to}")).unwrap();
        insta::assert_snapshot!(chart.bars[0].height, @"2.00");
        insta::assert_snapshot!(chart.bars[0].href, @"1970-01-01T00:00:00Z..1970-01-01T00:01:00Z");
        insta::assert_snapshot!(chart.label, @"10,000 over time, 1 min each");
        assert!(draw(&[], 1, |_, _| String::new()).is_none());
    }

    #[test]
    fn spans_are_named_by_their_unit() {
        assert_eq!(span(7_200_000_000_000), "2 h");
        assert_eq!(span(90_000_000_000), "90 s");
        assert_eq!(span(500_000_000), "500 ms");
    }
}
