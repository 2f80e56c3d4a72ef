//! How far the relay is.

/// What the bus has, of what the outbox may still hold.
#[derive(Debug)]
pub(super) struct Place {
    /// See [`crate::store::Store::numbers_in_commit_order`].
    pub(super) in_order: bool,
    /// The row after which the outbox is read: the last that was published, or 0 where others may appear before it.
    pub(super) after: i64,
    /// The rows that the bus has, and that are neither deleted nor queued for it.
    pub(super) to_delete: Vec<Run>,
}

impl Place {
    pub(super) fn start(in_order: bool) -> Self {
        Self { in_order, after: 0, to_delete: Vec::new() }
    }

    /// The bus has these rows, which are in their order.
    pub(super) fn add_published(&mut self, rows: &[(i64, String)]) {
        if self.in_order
            && let Some((last, _)) = rows.last()
        {
            self.after = *last;
        }
        self.to_delete.extend(runs(rows));
    }
}

/// Rows that the bus has, without a gap between them: nearly always all of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: i64,
    pub(super) last: i64,
}

impl Run {
    pub(super) fn has(self, row: i64) -> bool {
        (self.first..=self.last).contains(&row)
    }

    pub(super) fn rows(self) -> i64 {
        self.last - self.first + 1
    }
}

fn runs(rows: &[(i64, String)]) -> impl Iterator<Item = Run> {
    let runs = rows.chunk_by(|row, next| row.0 + 1 == next.0);
    runs.filter_map(|run| Some(Run { first: run.first()?.0, last: run.last()?.0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deleted_is_exactly_what_was_published() {
        let runs = |places: &[i64]| {
            let rows: Vec<_> = places.iter().map(|place| (*place, String::new())).collect();
            runs(&rows).map(|run| (run.first, run.last)).collect::<Vec<_>>()
        };
        assert_eq!(runs(&[4, 5, 6]), [(4, 6)]);
        assert_eq!(runs(&[4, 6, 7, 9]), [(4, 4), (6, 7), (9, 9)]);
        assert_eq!(runs(&[]), []);
    }
}
