//! Recognition of retries: an agent repeats a refused request, each time with a new id, and all of them are
//! one refusal.
//!
//! A retry's line follows that of the previous attempt by `parentUuid`; a captured stream has no such link,
//! but numbers the attempts within a session.

/// The position of a line among the attempts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub uuid: Option<u64>,
    pub parent: Option<u64>,
    pub session: Option<u64>,
    /// 1 is the first.
    pub attempt: Option<u64>,
}

/// The last refused attempt in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retries {
    last: Option<Attempt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attempt {
    uuid: Option<u64>,
    session: Option<u64>,
    /// The first request.
    request: u64,
}

impl Retries {
    /// Decodes the result of [`Retries::encode`].
    pub(in crate::parse) fn decode(bytes: &[u8]) -> Option<Self> {
        let numbers: [u8; 24] = bytes.get(1..)?.try_into().ok()?;
        let number = |index: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&numbers[index * 8..][..8]);
            u64::from_le_bytes(bytes)
        };
        let has = |bit: u8| bytes[0] & bit != 0;
        Some(Self {
            last: Some(Attempt {
                uuid: has(1).then(|| number(0)),
                session: has(2).then(|| number(1)),
                request: number(2),
            }),
        })
    }

    /// Encoded, if there is anything: a byte of flags for the ids, then three numbers.
    pub(in crate::parse) fn encode(&self) -> Option<Vec<u8>> {
        let last = self.last?;
        let mut bytes = vec![u8::from(last.uuid.is_some()) | u8::from(last.session.is_some()) << 1];
        for number in [
            last.uuid.unwrap_or_default(),
            last.session.unwrap_or_default(),
            last.request,
        ] {
            bytes.extend(number.to_le_bytes());
        }
        Some(bytes)
    }

    /// The first request of a series of retries.
    pub(super) fn first_of(&mut self, step: Step, request: u64) -> u64 {
        let follows = |last: &Attempt| {
            let is_same_line = step.uuid.is_some() && last.uuid == step.uuid;
            let is_child = step.parent.is_some() && last.uuid == step.parent;
            let is_next = step.parent.is_none()
                && step.attempt.is_some_and(|attempt| attempt > 1)
                && step.session.is_some()
                && last.session == step.session;
            is_same_line || is_child || is_next
        };
        let request = self.last.filter(follows).map_or(request, |last| last.request);
        self.last = Some(Attempt {
            uuid: step.uuid,
            session: step.session,
            request,
        });
        request
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn step(uuid: u64, parent: Option<u64>, attempt: Option<u64>) -> Step {
        Step {
            uuid: Some(uuid),
            parent,
            session: Some(9),
            attempt,
        }
    }

    #[test]
    fn attempts_in_a_row_are_one_request() {
        let mut retries = Retries::default();
        for (step, request, want) in [
            (step(1, Some(50), Some(1)), 11, 11),
            (step(2, Some(1), Some(2)), 12, 11),
            (step(3, Some(2), Some(3)), 13, 11),
            // The line that ends it, and a copy of that.
            (step(4, Some(3), None), 14, 11),
            (step(4, Some(3), None), 14, 11),
            // The next request.
            (step(6, Some(5), Some(1)), 15, 15),
            // In a stream: numbered, not linked.
            (step(7, None, Some(1)), 16, 16),
            (step(8, None, Some(2)), 17, 16),
            (step(9, None, None), 18, 18),
        ] {
            assert_eq!(retries.first_of(step, request), want, "{step:?}");
        }
    }

    #[test]
    fn the_bytes_stay_as_they_are() {
        let last = Attempt {
            uuid: Some(1),
            session: None,
            request: 3,
        };
        let mut pinned = [0; 25];
        (pinned[0], pinned[1], pinned[17]) = (1, 1, 3);
        assert_eq!(Retries { last: Some(last) }.encode().unwrap(), pinned);
        let session = Some(2);
        (pinned[0], pinned[9]) = (3, 2);
        let last = Some(Attempt { session, ..last });
        assert_eq!(Retries { last }.encode().unwrap(), pinned);
    }

    proptest! {
        #[test]
        fn what_is_kept_comes_back(uuid in any::<Option<u64>>(), session in any::<Option<u64>>(), request in any::<u64>()) {
            let retries = Retries { last: Some(Attempt { uuid, session, request }) };
            prop_assert_eq!(retries.encode().and_then(|bytes| Retries::decode(&bytes)), Some(retries));
        }

        #[test]
        fn any_bytes_are_some_retries_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(Retries::decode(&bytes).is_some(), bytes.len() == 25);
        }
    }
}
