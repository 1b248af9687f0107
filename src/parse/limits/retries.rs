//! Which refusals are one: an agent that is refused tries the same request again and again, each time with a new id.
//!
//! A retry's line follows that of the attempt before, by `parentUuid`; a captured stream has no such link, but numbers
//! the attempts within a session.

/// What a line says of its place among the attempts.
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
    /// The request whose refusal this is: the first of those that are retries of each other.
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
