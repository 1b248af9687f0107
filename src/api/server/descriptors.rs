//! File descriptors: clients may use many, but logs and the store keep theirs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors reserved for logs, directories, the store and the watch.
const DESCRIPTORS_KEPT: usize = 512;
const LISTENERS: usize = 2;
/// Fewer connections would make the endpoint useless.
const CONNECTIONS_MIN: usize = 8;

/// Connections allowed per endpoint: the wanted number, unless the limit of open files is too small for it.
pub fn connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let needed = DESCRIPTORS_KEPT + LISTENERS * wanted;
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
    let free = descriptors.saturating_sub(DESCRIPTORS_KEPT) / LISTENERS;
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
