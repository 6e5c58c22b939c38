//! Priorities: three of them, served in weighted turns so that none starves.

use serde::{Deserialize, Serialize};

/// How soon a shard is wanted.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum Priority {
    /// Before others: a third opinion that a record waits for.
    Urgent,
    /// The work itself.
    #[default]
    Normal,
    /// Whenever there is time: audits.
    Background,
}

/// Whose turn it is to be looked at first: 4 : 2 : 1.
const TURNS: [Priority; 7] = [
    Priority::Urgent,
    Priority::Normal,
    Priority::Urgent,
    Priority::Background,
    Priority::Urgent,
    Priority::Normal,
    Priority::Urgent,
];

impl Priority {
    /// Every priority, most urgent first.
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Normal, Self::Background];

    /// The name on command lines.
    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    /// Position in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The priorities in the order in which take number `turn` looks at them: the one whose turn it is, then
    /// the others by urgency.
    pub fn order(turn: u64) -> [Self; 3] {
        #[allow(clippy::cast_possible_truncation)] // below 7
        let first = TURNS[(turn % TURNS.len() as u64) as usize];
        let mut order = Self::ALL;
        order[..=first.index()].rotate_right(1);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_weighted_and_every_priority_is_looked_at() {
        let mut first = [0; 3];
        for turn in 0..70 {
            let order = Priority::order(turn);
            first[order[0].index()] += 1;
            let mut sorted = order;
            sorted.sort_unstable();
            assert_eq!(sorted, Priority::ALL);
            assert!(order[1] < order[2], "the rest by urgency");
        }
        assert_eq!(first, [40, 20, 10]);
    }
}
