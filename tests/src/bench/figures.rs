//! A figure with its spread, and its ceiling.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Which direction is an improvement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    Higher,
    Lower,
}

/// What was measured in each round; at least one value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// None if there are no values.
    pub fn new(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then_some(Self(values))
    }

    pub fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        if self.0.len() % 2 == 1 { self.0[middle] } else { f64::midpoint(self.0[middle - 1], self.0[middle]) }
    }

    /// Half the distance from the least to the greatest value, in percent of the median; none for one value.
    pub fn spread(&self) -> Option<f64> {
        let range = self.0[self.0.len() - 1] - self.0[0];
        (self.0.len() > 1 && self.median() > 0.0).then(|| 50.0 * range / self.median())
    }
}

/// What the same machine does without the services, at best.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// How it is made, in a few words.
    pub what: String,
    pub samples: Samples,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Identifies the row in comparisons.
    pub name: String,
    pub unit: String,
    pub better: Better,
    pub samples: Option<Samples>,
    pub ceiling: Option<Ceiling>,
    /// Why there is no figure.
    pub skipped: Option<String>,
}

impl Row {
    /// Values of which there must be some.
    pub fn new(name: impl Into<String>, unit: &str, better: Better, values: Vec<f64>) -> Self {
        let samples = Samples::new(values);
        let skipped = samples.is_none().then(|| "nothing was measured".to_owned());
        Self { name: name.into(), unit: unit.to_owned(), better, samples, ceiling: None, skipped }
    }

    pub fn skipped(name: impl Into<String>, unit: &str, better: Better, why: impl Into<String>) -> Self {
        let (name, unit) = (name.into(), unit.to_owned());
        // On one line, as a row of the table is.
        let why = why.into().split_whitespace().collect::<Vec<_>>().join(" ");
        Self { name, unit, better, samples: None, ceiling: None, skipped: Some(why) }
    }

    pub fn with_ceiling(self, what: &str, values: Vec<f64>) -> Self {
        let ceiling = Samples::new(values).map(|samples| Ceiling { what: what.to_owned(), samples });
        Self { ceiling, ..self }
    }

    /// The figure divided by its ceiling.
    pub fn ratio(&self) -> Option<f64> {
        let ceiling = self.ceiling.as_ref()?.samples.median();
        (ceiling > 0.0).then_some(self.samples.as_ref()?.median() / ceiling)
    }
}

/// The 50th and the 99th percentile of some durations in milliseconds; none if there are no durations.
pub fn percentiles(mut all: Vec<Duration>) -> Option<[f64; 2]> {
    all.sort_unstable();
    let at = |percent: usize| all.get(all.len() * percent / 100).map(|d| d.as_secs_f64() * 1e3);
    Some([at(50)?, at(99)?])
}

/// Two rows of a latency: its p50 and its p99 in each round.
pub fn latency_rows(name: &str, rounds: &[[f64; 2]], ceiling: Option<(&str, &[[f64; 2]])>) -> Vec<Row> {
    let of = |rounds: &[[f64; 2]], at: usize| rounds.iter().map(|round| round[at]).collect::<Vec<_>>();
    let rows = ["p50", "p99"].into_iter().enumerate().map(|(at, percentile)| {
        let row = Row::new(format!("{name}, {percentile}"), "ms", Better::Lower, of(rounds, at));
        match ceiling {
            Some((what, rounds)) => row.with_ceiling(what, of(rounds, at)),
            None => row,
        }
    });
    rows.collect()
}

/// The same two rows where they could not be measured.
pub fn skipped_latency(name: &str, why: &str) -> Vec<Row> {
    ["p50", "p99"].map(|p| Row::skipped(format!("{name}, {p}"), "ms", Better::Lower, why)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_median_with_half_its_range() {
        let samples = Samples::new(vec![12.0, 8.0, 10.0]).unwrap();
        assert_eq!((samples.median(), samples.spread()), (10.0, Some(20.0)));
        let two = Samples::new(vec![1.0, 3.0]).unwrap();
        assert_eq!((two.median(), two.spread()), (2.0, Some(50.0)));
        assert_eq!(Samples::new(vec![4.0]).unwrap().spread(), None);
        assert_eq!(Samples::new(Vec::new()), None);
        let row = Row::new("r", "1/s", Better::Higher, vec![30.0]).with_ceiling("c", vec![40.0]);
        assert_eq!(row.ratio(), Some(0.75));
    }

    #[test]
    fn percentiles_are_taken_from_sorted_durations() {
        let all = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentiles(all), Some([101.0, 199.0]));
        assert_eq!(percentiles(Vec::new()), None);
    }
}
