//! Descriptors: clients may take many, the logs and the store must keep theirs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for logs, directories, the store and the watch.
const DESCRIPTORS_KEPT: usize = 512;
const DOORS: usize = 2;
/// Fewer connections are of no use to anybody.
const CONNECTIONS_MIN: usize = 8;

/// How many connections each endpoint may have: those wanted, unless the limit of open files has no room for them.
pub fn connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let needed = DESCRIPTORS_KEPT + DOORS * wanted;
    let there = limit
        .current
        .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    if there >= needed {
        return wanted;
    }
    let raised = Rlimit {
        current: Some(
            limit
                .maximum
                .map_or(needed as u64, |most| most.min(needed as u64)),
        ),
        maximum: limit.maximum,
    };
    let there = match (setrlimit(Resource::Nofile, raised), raised.current) {
        (Ok(()), Some(limit)) => usize::try_from(limit).unwrap_or(usize::MAX),
        _ => there,
    };
    let fit = within(wanted, there);
    if fit < wanted {
        tracing::warn!(
            "a process may open {there} files here, so each listener takes {fit} connections, not {wanted}; raise the limit (ulimit -n, LimitNOFILE=) or lower http.connections_max"
        );
    }
    fit
}

fn within(wanted: usize, descriptors: usize) -> usize {
    let free = descriptors.saturating_sub(DESCRIPTORS_KEPT) / DOORS;
    wanted.min(free.max(CONNECTIONS_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_keep_their_descriptors() {
        for (wanted, descriptors, fit) in [(512, 4096, 512), (512, 1024, 256), (512, 100, 8), (8, 0, 8)] {
            assert_eq!(within(wanted, descriptors), fit, "{wanted} of {descriptors}");
        }
    }
}
