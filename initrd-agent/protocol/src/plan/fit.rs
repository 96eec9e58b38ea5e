//! Divides room among parts, in whole units (MiB of a disk, extents of a volume group).

use crate::layout::Grow;

/// One thing that wants room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Least units that it must get; never more than `captured`, unless it is a share.
    pub(super) minimum: u64,
    /// Units that it had.
    pub(super) captured: u64,
    /// What happens to it.
    pub(super) grow: Grow,
}

impl Part {
    /// The least that this part takes.
    pub(super) fn least(&self) -> u64 {
        match self.grow {
            Grow::Fixed => self.captured,
            Grow::Keep | Grow::Share { .. } => self.minimum,
        }
    }
}

/// Gives every part its units; none when even the least does not fit.
pub(super) fn distribute(parts: &[Part], room: u64) -> Option<Vec<u64>> {
    let least =
        |wanted: fn(&Grow) -> bool| parts.iter().filter(|p| wanted(&p.grow)).map(Part::least).sum::<u64>();
    let fixed = least(|g| *g == Grow::Fixed);
    let shares = least(|g| matches!(g, Grow::Share { .. }));
    let kept = least(|g| *g == Grow::Keep);
    let spare = room.checked_sub(fixed + shares + kept)?;
    let keeps: Vec<&Part> = parts.iter().filter(|p| p.grow == Grow::Keep).collect();
    let keep_room = (kept + spare).min(keeps.iter().map(|p| p.captured).sum());
    let mut keep_sizes =
        by_weight(&keeps.iter().map(|p| (p.minimum, p.captured)).collect::<Vec<_>>(), keep_room).into_iter();
    let weights: Vec<(u64, u64)> = parts
        .iter()
        .filter_map(|p| match p.grow {
            Grow::Share { weight } => Some((p.minimum, u64::from(weight.max(1)))),
            Grow::Fixed | Grow::Keep => None,
        })
        .collect();
    let mut share_sizes = by_weight(&weights, room - fixed - keep_room).into_iter();
    let size = |part: &Part| match part.grow {
        Grow::Fixed => Some(part.captured),
        Grow::Keep => keep_sizes.next(),
        Grow::Share { .. } => share_sizes.next(),
    };
    parts.iter().map(size).collect()
}

/// Divides all of `room` among parts of (minimum, weight). A part whose share is below its minimum gets the minimum,
/// and the others divide the rest anew. The minimums must fit.
fn by_weight(parts: &[(u64, u64)], room: u64) -> Vec<u64> {
    let mut sizes: Vec<u64> = parts.iter().map(|(minimum, _)| *minimum).collect();
    let mut open: Vec<usize> = (0..parts.len()).collect();
    let mut left = room;
    loop {
        let weights: u64 = open.iter().map(|i| parts[*i].1).sum();
        let share = |i: usize| proportion(left, parts[i].1, weights);
        let Some(at) = open.iter().position(|i| share(*i) < parts[*i].0) else { break };
        left -= parts[open.remove(at)].0;
    }
    let weights: u64 = open.iter().map(|i| parts[*i].1).sum();
    for i in &open {
        sizes[*i] = proportion(left, parts[*i].1, weights);
    }
    // Rounding leaves fewer units than there are parts.
    let rest = left - open.iter().map(|i| sizes[*i]).sum::<u64>();
    for i in open.iter().take(usize::try_from(rest).unwrap_or(usize::MAX)) {
        sizes[*i] += 1;
    }
    sizes
}

fn proportion(room: u64, weight: u64, weights: u64) -> u64 {
    let part = u128::from(room) * u128::from(weight) / u128::from(weights.max(1));
    u64::try_from(part).expect("a part of a u64 is a u64")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(minimum: u64, captured: u64, grow: Grow) -> Part {
        Part { minimum, captured, grow }
    }

    #[test]
    fn captured_sizes_are_kept_while_there_is_room_and_shares_take_the_rest() {
        let share = |weight| Grow::Share { weight };
        let parts =
            [part(5, 10, Grow::Fixed), part(3, 20, Grow::Keep), part(4, 30, share(1)), part(4, 30, share(3))];
        assert_eq!(distribute(&parts, 110), Some(vec![10, 20, 20, 60]));
        // Shares go down to their minimum before a kept size shrinks.
        assert_eq!(distribute(&parts, 40), Some(vec![10, 20, 4, 6]));
        assert_eq!(distribute(&parts, 30), Some(vec![10, 12, 4, 4]));
        assert_eq!(distribute(&parts, 21), Some(vec![10, 3, 4, 4]));
        assert_eq!(distribute(&parts, 20), None);
    }

    #[test]
    fn a_part_at_its_minimum_leaves_the_shortage_to_the_others() {
        let parts = [part(90, 100, Grow::Keep), part(10, 100, Grow::Keep), part(10, 100, Grow::Keep)];
        assert_eq!(distribute(&parts, 151), Some(vec![90, 31, 30]));
    }

    fn any_part() -> impl Strategy<Value = Part> {
        let grow = prop_oneof![
            Just(Grow::Fixed),
            Just(Grow::Keep),
            (0..5_u32).prop_map(|weight| Grow::Share { weight })
        ];
        (0..1000_u64, 0..1000_u64, grow).prop_map(|(minimum, more, grow)| part(minimum, minimum + more, grow))
    }

    proptest! {
        #[test]
        fn parts_get_their_least_and_no_more_than_there_is(
            parts in proptest::collection::vec(any_part(), 0..8), room in 0..10_000_u64,
        ) {
            let least: u64 = parts.iter().map(Part::least).sum();
            let Some(sizes) = distribute(&parts, room) else {
                prop_assert!(least > room);
                return Ok(());
            };
            prop_assert!(sizes.iter().sum::<u64>() <= room);
            for (part, size) in parts.iter().zip(&sizes) {
                prop_assert!(*size >= part.least());
                prop_assert!(part.grow != Grow::Fixed || *size == part.captured);
                prop_assert!(part.grow != Grow::Keep || *size <= part.captured);
            }
            // Whoever shares leaves nothing over.
            if parts.iter().any(|p| matches!(p.grow, Grow::Share { .. })) {
                prop_assert_eq!(sizes.iter().sum::<u64>(), room);
            }
        }
    }
}
