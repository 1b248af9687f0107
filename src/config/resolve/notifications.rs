//! The targets of notifications.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::NotifySettings;
use super::super::notifications::check_targets;
use super::{Duration, Origin, Period, RangeInclusive, Resolver};

const FORECAST_RANGE: RangeInclusive<Period> =
    Period(Duration::from_mins(1))..=Period(Duration::from_hours(168));
const FORECAST_DEFAULT: Period = Period(Duration::from_mins(30));
/// The variables of the collector that a program gets.
const VARIABLES: [&str; 4] = ["PATH", "LANG", "TZ", "HOME"];

impl Resolver<'_> {
    /// From the file alone: a list of tables cannot be given as a variable or a flag.
    pub(super) fn notify(&mut self) -> NotifySettings {
        let layers = &mut self.layers;
        let given = layers.iter_mut().find_map(|(_, layer)| layer.notify.take());
        let variables = VARIABLES.iter().filter_map(|name| {
            let value = self.environment.vars.get(*name)?;
            Some(((*name).to_owned(), value.clone()))
        });
        let variables = variables.collect();
        let Some((file, given)) = self.file.as_ref().zip(given) else {
            self.origins.insert("notify", Origin::Default(None));
            return NotifySettings {
                targets: Arc::default(),
                variables,
            };
        };
        self.origins.insert("notify", Origin::File(file.path.clone()));
        let base = self.environment.directory("CREDENTIALS_DIRECTORY");
        // The working directory of a service is none of the operator's.
        let beside = || self.environment.cwd.join(&file.path).parent().map(PathBuf::from);
        let base = base
            .or_else(beside)
            .unwrap_or_else(|| self.environment.cwd.clone());
        let is_whole = !self.mistakes.is_about("notify");
        let (targets, mistakes) = check_targets(&given, &base, is_whole, !self.environment.has_files);
        let mut mistakes: Vec<_> = mistakes
            .iter()
            .map(|mistake| (file.span(&mistake.place()).start, mistake))
            .collect();
        mistakes.sort_by_key(|(at, _)| *at);
        for (at, mistake) in mistakes {
            let error = || file.error(&mistake.place(), mistake.problem());
            self.mistakes.push_at(at, error);
        }
        NotifySettings {
            targets: targets.into(),
            variables,
        }
    }

    pub(super) fn forecast_within(&mut self) -> Duration {
        let within = self.pick(
            "quota.forecast_within",
            |p| p.quota.forecast_within,
            || FORECAST_DEFAULT,
        );
        self.within("quota.forecast_within", within, &FORECAST_RANGE).0
    }
}
